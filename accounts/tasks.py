"""What the worker does for accounts, by timetable (see atelier.celery)."""

import asyncio
from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone

from accounts import files, ledger, rollups
from accounts.batches import verbs as batches
from accounts.ledger import RunningRecord
from accounts.models import StoredResponse
from accounts.quotas.limiter import Limiter
from accounts.quotas.lost import lost, settle_lost
from accounts.quotas.redis_counters import RedisCounters
from accounts.quotas.rules import Rules, Used

BEGINNING_SECONDS = 60.0
"""Longer than a request that lives can be between the counters and the ledger."""


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
    left = ledger.running_since_before(timezone.now() - longest)
    closed = [record for record in left if ledger.interrupt(record.request_id)]
    if closed and settings.REDIS_URL:
        asyncio.run(_give_back(closed))
    return len(closed)


async def _give_back(records: list[RunningRecord]) -> None:
    """What they have reserved of limits. (Counters in a gateway's own memory are gone with it.)"""
    counters = RedisCounters(settings.REDIS_URL)
    try:
        limiter = Limiter(Rules(), counters)
        for record in records:
            await limiter.settle_record(record, Used())
    finally:
        await counters.close()


@shared_task  # type: ignore[untyped-decorator]  # Celery has no types
def settle_lost_reservations() -> int:
    """Gives back what requests hold of limits that have ended without saying so to Redis; how many holds."""
    return asyncio.run(_settle_lost()) if settings.REDIS_URL else 0


async def _settle_lost() -> int:
    counters = RedisCounters(settings.REDIS_URL)
    try:
        if not (seen := await lost(counters)):
            return 0
        await asyncio.sleep(BEGINNING_SECONDS)
        return await settle_lost(counters, seen)
    finally:
        await counters.close()


@shared_task  # type: ignore[untyped-decorator]  # Celery has no types
def delete_expired_responses() -> int:
    """Deletes the stored responses whose time is over (ATELIER_RESPONSES_TTL_DAYS); how many."""
    deleted, _ = StoredResponse.objects.expired().delete()
    return deleted


@shared_task  # type: ignore[untyped-decorator]  # Celery has no types
def delete_expired_files() -> int:
    """Deletes files whose time is over, uploads that were never finished, and what is left of batches that ended
    ATELIER_FILES_TTL_DAYS ago; how many files."""
    batches.delete_ended()
    return files.delete_expired()


@shared_task  # type: ignore[untyped-decorator]  # Celery has no types
def roll_up_usage() -> int:
    """Adds what has ended in the ledger to the sums of its days; how many rows. Several may run at once."""
    return rollups.roll_up()


@shared_task  # type: ignore[untyped-decorator]  # Celery has no types
def forget_old_records() -> int:
    """Deletes rows of the ledger that are older than ATELIER_USAGE_RETENTION_DAYS; how many."""
    return rollups.forget_old_records()
