"""A request while an encoder works on it: its rows, its progress, its bill."""

from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from inference.engine.protocol import Embed, Rerank, Tally


@dataclass(frozen=True, slots=True)
class Text:
    """One input, or one pair of query and document, as the model reads it."""

    ids: list[int]
    types: list[int] | None = None
    """Which of the pair each token belongs to, for models that want to be told."""


@dataclass(slots=True, eq=False)
class Row:
    job: "Job"
    index: int
    """Among the request's inputs or documents."""
    text: Text
    serial: int = 0
    """When it came, in the queue's own count."""

    @property
    def length(self) -> int:
        return len(self.text.ids)


@dataclass(slots=True, eq=False)
class Job:
    """One request. Intake makes it; from then on it is the step thread's."""

    request: Embed | Rerank
    client: bytes
    rows: list[Row] = field(default_factory=list)
    received: float = field(default_factory=perf_counter)
    deadline: float | None = None
    """When it ends with a timeout, by `perf_counter`."""
    started: float | None = None
    results: dict[int, np.ndarray] = field(default_factory=dict)
    """By index, what the model made of a row: float32 [width]."""
    engine_seconds: float = 0.0
    ended: bool = False

    @property
    def id(self) -> str:
        return self.request.id

    @property
    def prompt_tokens(self) -> int:
        return sum(row.length for row in self.rows)

    def tally(self) -> Tally:
        """What was computed for it: of a request that ends early, the rows that were done."""
        now = perf_counter()
        started = now if self.started is None else self.started
        return Tally(
            prompt_tokens=sum(row.length for row in self.rows if row.index in self.results),
            queue_ms=(started - self.received) * 1e3,
            prefill_ms=(now - started) * 1e3,
            engine_seconds=self.engine_seconds,
        )
