"""What an engine has done since its start, and the report of it."""

from collections.abc import Callable
from dataclasses import asdict
from math import inf
from time import perf_counter
from typing import Any

import mlx.core as mx
from msgspec import structs

from inference.engine.batch import Batch
from inference.engine.protocol import Stats
from inference.engine.sequence import Sequence

LOOK_SECONDS = 0.25


class Books:
    """The step thread's, all but `stats`. monitors: their reports, by the names of `Stats`."""

    def __init__(self, batch: Batch, monitors: Callable[[], dict[str, Any]]):
        self._batch = batch
        self._monitors = monitors
        self.steps = 0
        self.requests = 0
        self.prefill_tokens = 0
        self.cached_tokens = 0
        self.generated_tokens = 0
        self.preemptions = 0
        self.busy_seconds = 0.0
        self._worked: list[tuple[Sequence, int]] = []
        """For whom the step works beside the rows, and how many tokens of theirs."""
        self._look_at = 0.0
        self._looked = Stats(steps=0, running=0, waiting=0)

    def worked(self, sequence: Sequence, tokens: int) -> None:
        """So many of its tokens are part of the step that is billed next."""
        self._worked.append((sequence, tokens))

    def bill(self, seconds: float, rows: list[Sequence]) -> None:
        """Shares a step's time among those it worked for, by tokens processed."""
        self.busy_seconds += seconds
        worked, self._worked = [*((row, 1) for row in rows), *self._worked], []
        tokens = sum(count for _, count in worked)
        for sequence, count in worked:
            sequence.engine_seconds += seconds * count / tokens

    def stats(self, running: int, there: list[Sequence]) -> Stats:
        """From any thread. How far it is, as of now; all else as of the last look. there: who is in the engine, running
        or not."""
        return structs.replace(
            self._looked,
            steps=self.steps,
            running=running,
            waiting=max(0, len(there) - running),
            batch=sum(sequence.priority == "batch" for sequence in there),
        )

    def look(self, now: float = inf) -> None:
        """Takes stock for `stats`, now and then: on the step thread, for the books are open while others read them."""
        if now < self._look_at:
            return
        self._look_at = perf_counter() + LOOK_SECONDS
        self._looked = Stats(
            steps=self.steps,
            running=0,
            waiting=0,
            prefill_tokens=self.prefill_tokens,
            cached_tokens=self.cached_tokens,
            generated_tokens=self.generated_tokens,
            preemptions=self.preemptions,
            busy_seconds=self.busy_seconds,
            requests=self.requests,
            memory_bytes=mx.get_active_memory(),
            peak_memory_bytes=mx.get_peak_memory(),
            idle_memory_bytes=mx.get_cache_memory(),
            kv_bytes=self._batch.store.nbytes,
            pool_bytes=self._batch.prefix.nbytes,
            cache=asdict(self._batch.prefix.counters()),
            tier=self._batch.prefix.tier_counters(),
            **self._monitors(),
        )
