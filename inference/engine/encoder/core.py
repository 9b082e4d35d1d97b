"""The step loop of an encoder: the one thread that makes and evaluates MLX arrays."""

import logging
from time import perf_counter

import mlx.core as mx
import numpy as np

from inference.engine.encoder.batches import Waiting
from inference.engine.encoder.encoder import Encoder
from inference.engine.encoder.job import Job, Row
from inference.engine.isolation import is_out_of_memory
from inference.engine.jobs import JobLoop
from inference.engine.monitors.memory import MemoryMonitor
from inference.engine.output import Output

log = logging.getLogger(__name__)


class EncoderCore(JobLoop[Job]):
    """Takes rows of all requests, a step at a time, for as long as there are any, and sleeps when there are none.

    A request is answered once all of its rows are there. waiting: how rows share steps.
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
        super().__init__(output, memory=memory, max_waiting=max_waiting)
        self.batching = batching
        self.batching_reason = batching_reason
        self._encoder = encoder
        self._waiting = waiting

    def _work(self, now: float) -> None:
        rows = self._waiting.take()
        for row in rows:
            row.job.started = row.job.started or now
        self._look()
        if rows:
            self._encode(rows)
            self._bill(rows, perf_counter() - now)
            for job in dict.fromkeys(row.job for row in rows):
                if not job.ended and len(job.results) == len(job.rows):
                    self._finish(job, [self._encoder.answer(job)])

    def _enter(self, job: Job) -> None:
        self._waiting.add(job)

    def _leave(self, job: Job) -> None:
        self._waiting.remove(job)

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
