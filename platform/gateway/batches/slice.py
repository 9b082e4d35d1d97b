"""What a worker does with a batch at a stretch: a slice of its lines, so that other batches get their turn.

Nothing that matters is in memory. A line is run until its answer is stored, with the batch's counts, in one
transaction; whoever takes the batch up next goes on with the lines that have none.
"""

import asyncio
import logging
import threading
from collections import deque
from time import monotonic

import httpx
from django.conf import settings
from django.utils import timezone

from accounts import files
from accounts.batches import progress
from accounts.batches.progress import NO_TOKENS, LeaseLost, Tokens
from accounts.models import ApiKey, Batch, BatchLine, StoredFile
from gateway.batches import results
from gateway.batches.answers import CANCELLED, DIED, EXPIRED, KEY_GONE, LineError, answered, unanswered
from gateway.batches.asking import Answered, Died, NotAllowed, NotNow, Outcome, ask, client
from gateway.batches.input import validate
from gateway.batches.reading import read_line
from gateway.database import DatabaseThreads

logger = logging.getLogger(__name__)

SLICE_SECONDS = 30.0
"""After which no more lines begin; those that run are waited for."""
RENEW_SECONDS = 3.0
LOOK_SECONDS = 0.5
"""Between two looks at whether it is to stop."""
PATIENCE_SECONDS = 2.0
"""A batch that has to wait longer than that gives its place to another."""
FETCHED = 100
"""Lines that are read from the database at once."""
MOST_FAULTS = 3
"""Times that something may die on a line."""
LONGEST_BACKOFF = 8.0

Status = Batch.Status


async def work_on_next(stopping: threading.Event) -> bool:
    """A slice of the batch that has waited longest. False: there was none."""
    # One statement after another: a worker's pool of connections is for its other tasks as well.
    database = DatabaseThreads(1)
    try:
        batch = await database.run(progress.claim)
        if batch is None:
            return False
        try:
            async with client() as http:
                await Slice(batch, database, http, stopping).run()
        except LeaseLost:
            logger.warning("%s is worked on elsewhere, or gone.", batch)
        except Exception as error:
            # Types only: a message may quote a prompt. It is tried again; in the end, the batch expires.
            logger.error("%s failed: %s", batch, type(error).__name__)
            await database.run(progress.put_off, batch, LONGEST_BACKOFF)
        return True
    finally:
        await asyncio.to_thread(database.close)


class Slice:
    def __init__(
        self, batch: Batch, database: DatabaseThreads, http: httpx.AsyncClient, stopping: threading.Event
    ) -> None:
        self._batch = batch
        self._database = database
        self._http = http
        self._stopping = stopping
        self._running: dict[asyncio.Task[Outcome], BatchLine] = {}
        self._next: deque[BatchLine] = deque()
        self._places = 1
        """Lines that may run at once: one more after each answer, one again when there was no room."""
        self._not_before = 0.0
        self._ends_at = monotonic() + SLICE_SECONDS
        self._renewed = monotonic()
        self._key_is_gone = False

    async def run(self) -> None:
        """Raises LeaseLost."""
        batch = self._batch
        if batch.status == Status.VALIDATING:
            await self._database.run(validate, batch)
        if batch.status == Status.IN_PROGRESS:
            try:
                over = await self._run_lines()
            finally:
                await self._cancel_running()
            if not over:
                wait = max(0.0, self._not_before - monotonic())
                await self._database.run(progress.put_off, batch, wait)
                return
        if not batch.is_finished():
            await self._database.run(self._finish)

    def _finish(self) -> None:
        batch, errors, ending = self._batch, [], self._ending()
        if ending is not None:
            status, reason = ending
            results.close(batch, reason)
            if status == Status.FAILED:
                errors.append({"code": reason.code, "message": reason.message, "param": None, "line": None})
        else:
            status = Status.COMPLETED
            progress.finalize(batch)
        results.write(batch, status, errors=errors)

    def _ending(self) -> tuple[str, LineError] | None:
        """Why it ends before all of its lines have run, if it does."""
        if self._batch.status == Status.CANCELLING:
            return Status.CANCELLED, CANCELLED
        if self._batch.status != Status.IN_PROGRESS:
            return None
        if self._key_is_gone:
            return Status.FAILED, KEY_GONE
        waiting = self._batch.lines.filter(state=BatchLine.State.WAITING).exists()
        return (Status.EXPIRED, EXPIRED) if waiting else None

    # --- its lines ---------------------------------------------------------------------------------------------------

    async def _run_lines(self) -> bool:
        """Whether nothing more of it is to run: it is through, cancelled, expired, or its key is gone. Otherwise it is
        another's turn."""
        row = StoredFile.objects.filter(file_id=self._batch.input_file_id).first
        file = await self._database.run(row)
        assert file is not None, "a batch's input can't be deleted while it runs"
        reader = files.Reader(file)
        while True:
            await self._hold()
            if self._is_to_end():
                return True
            if self._stopping.is_set():
                return False
            if monotonic() < self._ends_at:
                await self._fill(reader)
            if not self._running:
                if not self._next and not await self._fetch():
                    return True
                wait = self._not_before - monotonic()
                if monotonic() >= self._ends_at or wait > PATIENCE_SECONDS:
                    return False
                await asyncio.sleep(min(LOOK_SECONDS, max(0.0, wait)))
                continue
            done, _ = await asyncio.wait(self._running, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await self._take(self._running.pop(task), task.result())

    def _is_to_end(self) -> bool:
        return self._batch.status != Status.IN_PROGRESS or self._key_is_gone or self._batch.expires_at <= timezone.now()

    async def _hold(self) -> None:
        """Keeps the lease, and hears whether the batch was cancelled."""
        if monotonic() - self._renewed > RENEW_SECONDS:
            await self._database.run(progress.renew, self._batch)
            self._renewed = monotonic()
        else:
            await self._database.run(self._batch.refresh_from_db, fields=["status"])

    async def _fill(self, reader: files.Reader) -> None:
        """Begins as many lines as may run now. One that something died on runs alone, so that it harms no other."""
        while len(self._running) < self._places and monotonic() >= self._not_before:
            if not self._next and not await self._fetch():
                return
            line = self._next[0]
            if self._running and (line.faults or any(other.faults for other in self._running.values())):
                return
            self._next.popleft()
            text = await self._database.run(reader.read, line.offset, line.length)
            body = bytes(read_line(text).body)
            self._running[asyncio.ensure_future(ask(self._http, self._batch, line.number, body))] = line

    async def _fetch(self) -> bool:
        """Looks for lines that wait; whether there are any that don't run already."""
        running = [line.pk for line in self._running.values()]
        waiting = self._batch.lines.filter(state=BatchLine.State.WAITING).exclude(pk__in=running)
        self._next.extend(await self._database.run(list, waiting.order_by("faults", "number")[:FETCHED]))
        return bool(self._next)

    async def _take(self, line: BatchLine, outcome: Outcome) -> None:
        match outcome:
            case Answered(response, tokens):
                self._places = min(self._places + 1, settings.BATCH_CONCURRENCY)
                answer = answered(line.custom_id, response)
                await self._record(line, answer, is_error=outcome.is_error, tokens=tokens)
            case NotNow(seconds):
                self._wait(seconds)
            case NotAllowed():
                self._key_is_gone = not await self._database.run(self._key_lives)
                self._wait(1.0)
            case Died(response):
                faults = await self._database.run(progress.record_fault, line, batch=self._batch)
                if faults >= MOST_FAULTS:
                    said = answered(line.custom_id, response) if response else unanswered(line.custom_id, DIED)
                    await self._record(line, said, is_error=True)
                self._wait(min(LONGEST_BACKOFF, 2.0 ** (faults - 1) / 2))

    async def _record(self, line: BatchLine, answer: str, *, is_error: bool, tokens: Tokens = NO_TOKENS) -> None:
        await self._database.run(
            progress.record_answer, line, batch=self._batch, answer=answer, is_error=is_error, tokens=tokens
        )

    def _wait(self, seconds: float) -> None:
        """Begins nothing for so long, then one line; which, is looked up anew."""
        self._not_before = max(self._not_before, monotonic() + seconds)
        self._places = 1
        self._next.clear()

    def _key_lives(self) -> bool:
        key = self._batch.key_id
        return key is not None and ApiKey.objects.live().filter(pk=key).exists()

    async def _cancel_running(self) -> None:
        """Closing its connection ends a line at the gateway as well."""
        running, self._running = self._running, {}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
