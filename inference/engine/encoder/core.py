"""The step loop of an encoder: the one thread that makes and evaluates MLX arrays."""

import gc
import logging
from time import perf_counter

import mlx.core as mx
import numpy as np
from msgspec import structs

from inference.engine.encoder.batches import Waiting
from inference.engine.encoder.encoder import Encoder
from inference.engine.encoder.job import Job, Row
from inference.engine.intake import Work
from inference.engine.isolation import is_out_of_memory
from inference.engine.loop import StepLoop, Wanted
from inference.engine.monitors.memory import MemoryMonitor
from inference.engine.output import Conclude, Output
from inference.engine.protocol import Event, Failed, FailureCode, Finished, Stats
from inference.engine.room import Room
from inference.engine.sequence import Sequence

log = logging.getLogger(__name__)


class EncoderCore(StepLoop):
    """Takes rows of all requests, a step at a time, for as long as there are any, and sleeps when there are none.

    A request is answered once all of its rows are there. waiting: how rows share steps.  max_waiting: requests that may
    be here at once; the next is refused.
    """

    def __init__(
        self,
        encoder: Encoder,
        waiting: Waiting,
        output: Output,
        *,
        memory: MemoryMonitor,
        max_waiting: int,
        batching: str,
        batching_reason: str,
    ) -> None:
        super().__init__(output)
        self.batching = batching
        self.batching_reason = batching_reason
        self.memory = memory
        self._encoder = encoder
        self._waiting = waiting
        self._max_waiting = max_waiting
        self._live: dict[tuple[bytes, str], Job] = {}
        self._failures = False
        """Something has failed since the last rest."""
        self._steps = self._requests = self._tokens = 0
        self._busy_seconds = 0.0
        self._room = Room(lambda: self._busy_seconds)
        self._looked = Stats(steps=0, running=0, waiting=0)

    def stats(self) -> Stats:
        """From any thread: as of the beginning of the step under way."""
        return self._looked

    def step(self) -> None:
        self.memory.check()
        now = perf_counter()
        for job in [job for job in self._live.values() if job.deadline is not None and job.deadline <= now]:
            seconds = now - job.received
            self._fail(job, "timeout", f"The request has taken {seconds:.0f} s, which is its timeout (--timeout).")
        rows = self._waiting.take()
        for row in rows:
            row.job.started = row.job.started or now
        self._look()
        if rows:
            self._encode(rows)
            self._bill(rows, perf_counter() - now)
            for job in dict.fromkeys(row.job for row in rows):
                if not job.ended and len(job.results) == len(job.rows):
                    self._finish(job)
        self._steps += 1
        self._look()

    def _encode(self, rows: list[Row]) -> None:
        """Fills in the results of these rows. Where they fail together they are tried in halves, so that only the
        requests of those fail on which the model does."""
        try:
            values = self._encoder.compute([row.text for row in rows])
        except Exception as error:
            self._failures = True
            log.error("a step of %d texts failed: %s: %s", len(rows), type(error).__name__, error)
            if len(rows) == 1:
                self._blame(rows[0], error)
                return
            mx.clear_cache()
            for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
                self._encode([row for row in half if not row.job.ended])
            return
        for row, value in zip(rows, values, strict=True):
            if np.isfinite(value).all():
                row.job.results[row.index] = value
            else:
                self._blame(row, ArithmeticError("not a finite number"))

    def _blame(self, row: Row, error: Exception) -> None:
        job = row.job
        if job.ended:
            return
        where = self._encoder.place(job.request, row.index)
        log.error("request %s failed on %s: %s", job.id, where, type(error).__name__)
        if is_out_of_memory(error):
            self._fail(job, "server_is_overloaded", f"The engine has not enough memory for {where} now. Shorten it.")
        else:
            self._fail(job, "engine_error", f"The engine failed on {where}.")

    def _bill(self, rows: list[Row], seconds: float) -> None:
        """Shares a step's time among the requests it worked for, by tokens."""
        tokens = sum(row.length for row in rows)
        for row in rows:
            row.job.engine_seconds += seconds * row.length / tokens
        self._tokens += tokens
        self._busy_seconds += seconds

    def _look(self) -> None:
        """Takes stock for `stats`."""
        running = sum(job.started is not None for job in self._live.values())
        self._looked = Stats(
            steps=self._steps,
            running=running,
            waiting=len(self._live) - running,
            prefill_tokens=self._tokens,
            busy_seconds=self._busy_seconds,
            requests=self._requests,
            memory_bytes=mx.get_active_memory(),
            peak_memory_bytes=mx.get_peak_memory(),
            memory=structs.asdict(self.memory.report()),
        )

    # --- what the other threads send ---------------------------------------------------------------------------------

    @property
    def _busy(self) -> bool:
        return bool(self._live)

    def _turn(self) -> None:
        if self._live:
            self.step()

    def _idle(self) -> Work | None:
        if self._inbox.empty():
            if self._failures:
                # Exceptions hold frames in cycles, and these the arrays of the steps that failed.
                self._failures = False
                gc.collect()
            mx.clear_cache()
        self._look()
        return self._inbox.get()

    def _add(self, job: Sequence | Job, /) -> None:
        assert isinstance(job, Job)
        # An engine that refuses all has no steps to look at its memory in.
        self.memory.check()
        refusal, wait = self.memory.refusal(), self.memory.interval
        if (job.client, job.id) in self._live:
            self._output.put(self._failure(job, "engine_error", "A request with this id is running already."))
            return
        if refusal is None and len(self._live) > self._max_waiting:
            refusal = f"{self._max_waiting} requests are waiting already. Try again in a moment."
            wait = self._room.wait()
        if refusal is not None:
            self._output.put(self._failure(job, "server_is_overloaded", refusal, wait))
            return
        self._requests += 1
        self._live[job.client, job.id] = job
        self._waiting.add(job)

    def _keep(self, client: bytes, prefixes: list[tuple[int, ...]]) -> None:
        """Nothing: it caches no prefixes."""

    def _cancel(self, wanted: Wanted) -> None:
        for job in [job for job in self._live.values() if wanted(job)]:
            self._part(job)
            self._output.put(Conclude(job.client, [], Finished(job.id, "cancelled", job.tally())))

    # --- leaving -----------------------------------------------------------------------------------------------------

    def _finish(self, job: Job) -> None:
        self._part(job)
        answer: list[Event] = [self._encoder.answer(job)]
        self._output.put(Conclude(job.client, answer, Finished(job.id, "stop", job.tally())))

    def _fail(self, job: Job, code: FailureCode, message: str) -> None:
        self._part(job)
        self._output.put(self._failure(job, code, message))

    def _failure(self, job: Job, code: FailureCode, message: str, retry_after: float | None = None) -> Conclude:
        return Conclude(job.client, [], Failed(job.id, code, message, tally=job.tally(), retry_after=retry_after))

    def _part(self, job: Job) -> None:
        job.ended = True
        del self._live[job.client, job.id]
        self._room.left()
        self._waiting.remove(job)
