"""What the worker does for accounts, by timetable (see atelier.celery)."""

from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone

from accounts import ledger
from accounts.models import StoredResponse


@shared_task  # type: ignore[untyped-decorator]  # Celery has no types
def clear_sessions() -> None:
    """Deletes the sessions that have expired."""
    call_command("clearsessions")


@shared_task  # type: ignore[untyped-decorator]  # Celery has no types
def interrupt_abandoned() -> int:
    """Closes rows that nobody will close any more: their gateway has not come back under its name.

    A living gateway ends a request after REQUEST_TIMEOUT_SECONDS at the latest; twice that and an hour is past doubt.
    """
    longest = timedelta(seconds=2 * settings.REQUEST_TIMEOUT_SECONDS, hours=1)
    return ledger.interrupt_started_before(timezone.now() - longest)


@shared_task  # type: ignore[untyped-decorator]  # Celery has no types
def delete_expired_responses() -> int:
    """Deletes the stored responses whose time is over (ATELIER_RESPONSES_TTL_DAYS); how many."""
    deleted, _ = StoredResponse.objects.expired().delete()
    return deleted
