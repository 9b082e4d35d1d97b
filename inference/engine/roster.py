"""Who is in the engine: how sequences come in, and all the ways in which they end."""

import logging
from collections.abc import Callable
from time import perf_counter

from inference.engine.batch import Batch
from inference.engine.books import Books
from inference.engine.guidance.guide import GuideFailed
from inference.engine.monitors.memory import MemoryMonitor
from inference.engine.output import End, Failure, Output
from inference.engine.protocol import FailureCode
from inference.engine.room import Room
from inference.engine.scheduling.scheduler import QueueFull, Scheduler
from inference.engine.sequence import Sequence

log = logging.getLogger(__name__)


class Roster:
    """The step thread's."""

    def __init__(
        self, batch: Batch, scheduler: Scheduler[Sequence], output: Output, memory: MemoryMonitor, books: Books
    ):
        self.live: dict[str, Sequence] = {}
        """Those that have not ended, by id."""
        self.failures = False
        """Something has failed since this was last set to False."""
        self._batch = batch
        self._scheduler = scheduler
        self._output = output
        self._memory = memory
        self._books = books
        self.room = Room(lambda: self._books.busy_seconds)

    def add(self, sequence: Sequence) -> None:
        """Queues it, or refuses it."""
        if sequence.request.failed:
            return
        if sequence.id in self.live:
            # The one that is running goes by the same id, and nothing of it may end.
            sequence.request.failed = True
            self._output.put(Failure(sequence, "engine_error", "A request with this id is running already."))
            return
        if not sequence.max_tokens:
            self._books.requests += 1
            self._output.put(End(sequence, "length"))
            return
        # An engine that refuses all has no steps to look at its memory in.
        self._memory.check()
        if (refusal := self._memory.refusal()) is not None:
            self.refuse(sequence, "server_is_overloaded", refusal, self._memory.interval)
            return
        try:
            self._scheduler.add(sequence, perf_counter())
        except QueueFull:
            refusal = f"{self._scheduler.max_waiting} requests are waiting already. Try again in a moment."
            self.refuse(sequence, "server_is_overloaded", refusal, self.room.wait())
            return
        self._books.requests += 1
        self.live[sequence.id] = sequence
        self._batch.prefix.admit(sequence)

    def found(self, sequence: Sequence) -> int:
        """How many tokens of one that is not queued yet the prefix cache would find now."""
        return self._batch.prefix.look_up(sequence)

    def refuse(self, sequence: Sequence, code: FailureCode, message: str, retry_after: float | None = None) -> None:
        """One that is not queued. retry_after: seconds."""
        self._output.put(Failure(sequence, code, message, retry_after))
        self._fail_request(sequence)

    def cancel(self, wanted: Callable[[Sequence], bool]) -> None:
        for sequence in [each for each in self.live.values() if wanted(each)]:
            self.end(End(sequence, "cancelled"))

    def end(self, end: End | Failure) -> None:
        """It says no more. If it has a row, that goes between steps, see `leave`."""
        end.sequence.ended = True
        self._output.put(end)
        self.part(end.sequence)
        if isinstance(end, Failure):
            self._fail_request(end.sequence)

    def part(self, sequence: Sequence) -> None:
        """It has ended, and its end is told."""
        self._gone(sequence)
        self._scheduler.remove([sequence])
        self._batch.end(sequence)
        if sequence.row is None:
            self._batch.prefix.forget(sequence)

    def leave(self, sequence: Sequence) -> None:
        """Its row goes, what it holds to the prefix cache. The output thread may have ended it unnoticed until now."""
        self._gone(sequence)
        self._scheduler.remove([sequence])
        try:
            self._batch.leave(sequence)
        except Exception:
            log.exception("what request %s has computed could not go to the prefix cache", sequence.id)
        self._batch.prefix.forget(sequence)

    def time_out(self, sequence: Sequence) -> None:
        seconds = perf_counter() - sequence.received
        message = f"The request has taken {seconds:.0f} s, which is its timeout (--timeout)."
        self.end(Failure(sequence, "timeout", message))

    def fail(self, sequence: Sequence, error: Exception | None = None) -> None:
        self.failures = True
        if error is not None:
            log.error("request %s failed: %s: %s", sequence.id, type(error).__name__, error)
        self._batch.end(sequence, poisoned=True)
        message = str(error) if isinstance(error, GuideFailed) else "The engine failed on this request."
        self.end(Failure(sequence, "engine_error", message))

    def _gone(self, sequence: Sequence) -> None:
        if self.live.pop(sequence.id, None) is not None:
            self.room.left()

    def _fail_request(self, sequence: Sequence) -> None:
        """One answer of several has failed, and the request with it: nobody waits for the others any more."""
        request = sequence.request
        if not request.failed:
            request.failed = True
            self.cancel(lambda each: each.request is request)
