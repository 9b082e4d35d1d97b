"""The step loop of engines whose requests are jobs: they wait, are worked on, and end, each with one answer."""

import gc
import logging
from abc import abstractmethod
from time import perf_counter
from typing import Generic, Protocol, TypeVar, cast

import mlx.core as mx
from msgspec import structs

from inference.engine.asked import Asked
from inference.engine.intake import Work
from inference.engine.loop import StepLoop, Wanted
from inference.engine.monitors.memory import MemoryMonitor
from inference.engine.output import Conclude, Output
from inference.engine.protocol import Event, Failed, FailureCode, Finished, Stats, Tally
from inference.engine.room import Room

log = logging.getLogger(__name__)


class AnyJob(Protocol):
    client: bytes
    received: float
    deadline: float | None
    started: float | None
    ended: bool

    @property
    def id(self) -> str: ...

    def tally(self) -> Tally: ...


J = TypeVar("J", bound=AnyJob)


class JobLoop(StepLoop, Generic[J]):
    """max_waiting: jobs that may be here at once; the next is refused."""

    batching: str
    batching_reason: str

    def __init__(self, output: Output, *, memory: MemoryMonitor, max_waiting: int) -> None:
        super().__init__(output)
        self.memory = memory
        self._max_waiting = max_waiting
        self._live: dict[tuple[bytes, str], J] = {}
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
        self._work(now)
        self._steps += 1
        self._look()

    @abstractmethod
    def _work(self, now: float) -> None:
        """One step of those that wait, if any. now: by `perf_counter`."""

    @abstractmethod
    def _enter(self, job: J) -> None:
        """It waits from now on."""

    @abstractmethod
    def _leave(self, job: J) -> None:
        """It waits no longer."""

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

    def _add(self, asked: Asked, /) -> None:
        # Intake makes the jobs of the model that we have.
        job = cast(J, asked)
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
        self._enter(job)

    def _keep(self, client: bytes, prefixes: list[tuple[int, ...]]) -> None:
        """Nothing: it caches no prefixes."""

    def _cancel(self, wanted: Wanted) -> None:
        for job in [job for job in self._live.values() if wanted(cast(Asked, job))]:
            self._part(job)
            self._output.put(Conclude(job.client, [], Finished(job.id, "cancelled", job.tally())))

    # --- leaving -----------------------------------------------------------------------------------------------------

    def _finish(self, job: J, answer: list[Event]) -> None:
        self._part(job)
        self._output.put(Conclude(job.client, answer, Finished(job.id, "stop", job.tally())))

    def _fail(self, job: J, code: FailureCode, message: str) -> None:
        self._part(job)
        self._output.put(self._failure(job, code, message))

    def _failure(self, job: J, code: FailureCode, message: str, retry_after: float | None = None) -> Conclude:
        return Conclude(job.client, [], Failed(job.id, code, message, tally=job.tally(), retry_after=retry_after))

    def _part(self, job: J) -> None:
        job.ended = True
        del self._live[job.client, job.id]
        self._room.left()
        self._leave(job)
