"""Announcements and maintenance: the verbs, and how gateways hear of them."""

from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts import audit, events
from accounts.models import Announcement, Maintenance, User
from accounts.quotas.rules import Run, in_a_thread
from accounts.snapshot import Snapshot

MAINTENANCE_CHANGED = "maintenance.changed"
MAX_AGE_SECONDS = 5.0
"""How long a gateway may go by what it read when an event was lost."""


# --- Announcements -------------------------------------------------------------------------------------------------


@transaction.atomic
def do_announce(
    text: str, *, acting_user: User | None, starts_at: datetime | None = None, ends_at: datetime | None = None
) -> Announcement:
    """Pages show it from then, or from now on, until it ends or is taken down."""
    announcement = Announcement(text=text.strip(), starts_at=starts_at or timezone.now(), ends_at=ends_at)
    announcement.full_clean()
    announcement.save()
    audit.record("announcement.made", announcement, acting_user=acting_user, after=announcement.facts())
    return announcement


@transaction.atomic
def do_change_announcement(announcement: Announcement, *, acting_user: User | None, **changes: Any) -> None:
    stored = Announcement.objects.select_for_update().get(pk=announcement.pk)
    before = stored.facts()
    for name, value in changes.items():
        setattr(stored, name, value)
    stored.full_clean()
    stored.save()
    audit.record("announcement.changed", stored, acting_user=acting_user, before=before, after=stored.facts())


@transaction.atomic
def do_delete_announcement(announcement: Announcement, *, acting_user: User | None) -> None:
    audit.record("announcement.deleted", announcement, acting_user=acting_user, before=announcement.facts())
    announcement.delete()


@transaction.atomic
def do_take_down_announcements(*, acting_user: User | None) -> int:
    """All that are shown now or would be. How many there were."""
    found = list(Announcement.objects.unended().select_for_update().order_by("pk"))
    for announcement in found:
        do_delete_announcement(announcement, acting_user=acting_user)
    return len(found)


# --- Maintenance ---------------------------------------------------------------------------------------------------


@transaction.atomic
def do_set_maintenance(*, acting_user: User | None, **changes: Any) -> Maintenance:
    """Switches it on or off (`is_on`) or changes what is told of it; all gateways go by it at once. Switching it off
    forgets message and time, which belonged to this one."""
    Maintenance.objects.get_or_create(pk=Maintenance.ONLY)
    stored = Maintenance.objects.select_for_update().get(pk=Maintenance.ONLY)
    before = stored.facts()
    if changes.get("is_on") is False:
        changes = {"message": "", "until": None, **changes}
    for name, value in changes.items():
        setattr(stored, name, value)
    stored.full_clean()
    stored.save()
    if stored.facts() != before:
        audit.record("maintenance.changed", stored, acting_user=acting_user, before=before, after=stored.facts())
        events.publish_on_commit(MAINTENANCE_CHANGED)
    return stored


def current_maintenance() -> Maintenance | None:
    """None: all goes on as usual. One query."""
    return Maintenance.objects.filter(pk=Maintenance.ONLY, is_on=True).first()


class MaintenanceWatch:
    """A snapshot, which events keep fresh. Belongs to one event loop. run: how it reads the database."""

    def __init__(self, run: Run = in_a_thread) -> None:
        self._snapshot: Snapshot[Maintenance | None] = Snapshot(
            lambda: run(current_maintenance), max_age=MAX_AGE_SECONDS
        )

    async def current(self) -> Maintenance | None:
        """At most one query per MAX_AGE_SECONDS."""
        return await self._snapshot.get()

    def forget(self) -> None:
        self._snapshot.drop()

    async def watch(self) -> None:
        """Runs as long as the gateway."""
        await self._snapshot.drop_at(events.subscribe(MAINTENANCE_CHANGED))
