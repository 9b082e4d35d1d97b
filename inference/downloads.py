"""Downloads as jobs: asked for, taken up by one process at a time, cancelled, taken up again.

A lease says who has a download: it is taken by one statement that changes a row only while nobody else has it, and all
that follows is written only while it is held. What is on the disk needs none of this: see `inference.hub.fetch`.
"""

import logging
import secrets
import threading
from collections.abc import Callable
from datetime import timedelta
from time import monotonic
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts import audit
from accounts.events import publish_on_commit
from accounts.models import User
from inference.hub.client import Hub
from inference.hub.errors import HubError, Stopped
from inference.hub.repository import Repository
from inference.hub.snapshot import Progress, get_snapshot
from inference.inspection import inspect_repository
from inference.models import Download, Model
from inference.services import ENGINES_CHANGED
from inference.sources import check_revision, is_of_hub

log = logging.getLogger(__name__)

DOWNLOADS_CHANGED = "downloads.changed"
LEASE = timedelta(seconds=20)
"""After which a download is taken from a process that is not heard of any more."""
FIRST_LEASE = timedelta(minutes=2)
"""The same before its first byte: a hub may be slow to say what there is."""
WRITE_SECONDS = 1.0
State = Download.State
Shown = Callable[[Progress], None]


class LeaseLost(Exception):
    """It was cancelled, or another process may have it by now. Nothing was written."""


class NotOfHub(Exception):
    """There is nothing to download."""


class AlreadyEnded(Exception):
    """There is nothing left to cancel."""


# --- what people do


@transaction.atomic
def do_request_download(
    model: Model,
    *,
    acting_user: User | None,
    revision: str = "",
    retries: int | None = None,
    timeout: float | None = None,
    force: bool = False,
) -> Download:
    """A worker takes it up within seconds. The one that has not ended, where there is one. revision: what the model is
    pinned to from now on; empty: as it is. Raises NotOfHub, SourceError."""
    if not is_of_hub(model.source):
        raise NotOfHub
    if revision:
        check_revision(revision)
    model = Model.objects.select_for_update().get(pk=model.pk)
    running = model.downloads.unfinished().first()
    if running is not None:
        return running
    if revision and revision != model.revision:
        model.revision = revision
        model.save(update_fields=["revision"])
    last = model.downloads.first()
    download = Download.objects.create(
        model=model,
        revision=model.revision,
        asked_by=acting_user,
        retries=retries,
        timeout=timeout,
        force=force,
        # What was compared then is right still: files are known by their hashes.
        verified=last.verified if last else [],
    )
    audit.record("download.requested", download, acting_user=acting_user, after=download.facts())
    _tell(download)
    publish_on_commit(ENGINES_CHANGED)
    return download


@transaction.atomic
def do_cancel_download(download: Download, *, acting_user: User | None) -> Download:
    """Whoever fetches stops within a second; what was fetched stays for the next time. Raises AlreadyEnded."""
    stored = Download.objects.select_for_update(of=("self",)).select_related("model").get(pk=download.pk)
    if stored.is_finished():
        raise AlreadyEnded
    _end(stored, State.CANCELLED)
    audit.record("download.cancelled", stored, acting_user=acting_user, after=stored.facts())
    return stored


# --- what a process does that has the lease


def claim(download: Download | None = None) -> Download | None:
    """The oldest one that is due, or this one, leased. None: there is none, or another process has it."""
    due = Download.objects.due()
    for candidate in [download] if download else due[:10]:
        lease = secrets.token_hex(16)
        changes = {"lease": lease, "leased_until": timezone.now() + FIRST_LEASE, "state": State.RUNNING}
        if due.filter(pk=candidate.pk).order_by().update(**changes):
            return Download.objects.select_related("model").get(pk=candidate.pk)
    return None


def work_on(download: Download, stop: threading.Event, shown: Shown = lambda progress: None) -> Download:
    """Fetches what is claimed, to its end or until `stop` is set: then it is due again, for whoever looks next. The
    download as it is then."""
    retries, timeout = download.retries, download.timeout
    row = _Row(download)
    try:
        with Hub(
            timeout=settings.DOWNLOAD_TIMEOUT_SECONDS if timeout is None else timeout,
            retries=settings.DOWNLOAD_RETRIES if retries is None else retries,
            offline=settings.OFFLINE,
            stop=stop,
        ) as hub:
            repository = hub.repository(download.model.source, download.revision)
            facts = _checked(hub, repository, download)
            row.write(commit=repository.commit, bytes_done=0, bytes_total=repository.size)

            def tick(progress: Progress) -> None:
                row.moved(progress)
                shown(progress)

            get_snapshot(
                hub, repository, download.revision,
                at_once=settings.DOWNLOAD_CONCURRENCY, verified=set(download.verified), tick=tick,
            )  # fmt: skip
        _record_end(download, State.DONE, facts=facts)
    except LeaseLost:
        log.info("%s goes on elsewhere, or was cancelled", download)
    except Stopped:
        _held(download).update(lease="", leased_until=None, state=State.WAITING, rate=0)
    except HubError as error:
        _record_end(download, State.FAILED, error=error)
    except Exception as error:
        # The worker has others to get; this one's row has to say what became of it.
        log.exception("%s failed", download)
        _record_end(
            download, State.FAILED, error=HubError("broken", f"It failed unexpectedly: {type(error).__name__}.")
        )
    download.refresh_from_db()
    return download


def _checked(hub: Hub, repository: Repository, download: Download) -> dict[str, Any]:
    """What it is. Raises HubError where it could not be served here, unless that was said not to matter."""
    found = inspect_repository(hub, repository, download.model.engine_options, kind=download.model.kind)
    reasons = found.problems or ([found.too_large] if found.too_large else [])
    if reasons and not (download.force and found.weights_bytes):
        more = " --force (force) gets it nevertheless." if found.weights_bytes else ""
        raise HubError("refused", f"{repository.id} can't be served here: {'; '.join(reasons)}.{more}")
    return found.stored()


class _Row:
    """What is written of it while it runs. Each of these raises LeaseLost."""

    def __init__(self, download: Download):
        self._download = download
        self._next = 0.0

    def moved(self, progress: Progress) -> None:
        # Whoever cancels should not wait; whoever watches need not see more.
        now = monotonic()
        if now < self._next and not progress.is_over:
            return
        self._next = now + WRITE_SECONDS
        self.write(
            bytes_done=min(progress.bytes_done, progress.bytes_total),
            bytes_total=progress.bytes_total,
            files_done=progress.files_done,
            files_total=progress.files_total,
            rate=int(progress.rate()),
            verified=sorted(progress.verified | set(self._download.verified)),
        )

    def write(self, **changes: Any) -> None:
        if not _held(self._download).update(leased_until=timezone.now() + LEASE, **changes):
            raise LeaseLost
        for name, value in changes.items():
            setattr(self._download, name, value)
        _tell(self._download)


@transaction.atomic
def _record_end(
    download: Download, state: str, *, error: HubError | None = None, facts: dict[str, Any] | None = None
) -> None:
    """Nothing, where the lease is lost."""
    stored = Download.objects.select_for_update(of=("self",)).select_related("model").get(pk=download.pk)
    if stored.lease != download.lease or stored.is_finished():
        return
    if state == State.DONE:
        model = Model.objects.select_for_update().get(pk=stored.model_id)
        model.commit, model.facts = stored.commit, facts or {}
        model.save(update_fields=["commit", "facts"])
        stored.model = model
    _end(stored, state, error=error)
    audit.record("download.ended", stored, acting_user=None, after=stored.facts())


def _end(stored: Download, state: str, *, error: HubError | None = None) -> None:
    stored.state, stored.ended_at, stored.rate = state, timezone.now(), 0
    stored.error, stored.error_code = (str(error), error.code) if error else ("", "")
    stored.lease, stored.leased_until = "", None
    stored.save()
    _tell(stored)
    # An engine may be waiting for it.
    publish_on_commit(ENGINES_CHANGED)


def _held(download: Download) -> Any:
    return Download.objects.filter(pk=download.pk, lease=download.lease, state=State.RUNNING)


def _tell(download: Download) -> None:
    publish_on_commit(
        DOWNLOADS_CHANGED,
        id=download.pk,
        model=download.model.name,
        state=download.state,
        bytes_done=download.bytes_done,
        bytes_total=download.bytes_total,
        bytes_per_second=download.rate,
    )
