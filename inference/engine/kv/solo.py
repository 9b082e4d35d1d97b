"""One row at a time with the model's own caches: for models that fail the self-test, and for --runtime-mode simple
where equal answers matter more than anything."""

from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from inference.engine.kv.capacity import capacity_for
from inference.engine.kv.layout import Layout


@dataclass(slots=True, eq=False)
class SoloRow:
    """The place of the only sequence."""

    caches: list[Any] = field(default_factory=list)
    own: int = 0
    decoding: bool = False
    ended: bool = False
    poisoned: bool = False
    lane: int | None = None
    base: int = 0

    @property
    def length(self) -> int:
        return self.own


class SoloStore:
    """A Store (see store.py) with room for one row."""

    grouped = False
    max_rows = 1

    layout = Layout([], [])

    def __init__(self, model: Any, *, largest: int):
        self._model = model
        self.largest = largest
        self._row: SoloRow | None = None

    @property
    def nbytes(self) -> int:
        return sum(cache.nbytes for cache in self._row.caches if not cache.empty()) if self._row else 0

    def open(self, tokens: int) -> SoloRow:
        """Raises ValueError beyond the largest slot, or beside another row."""
        if self._row is not None:
            raise ValueError("This model holds one row at a time.")
        capacity_for(tokens, self.largest)
        self._row = SoloRow(make_prompt_cache(self._model))
        return self._row

    def prefill_caches(self, row: SoloRow) -> list[Any]:
        return row.caches

    def prefilled(self, row: SoloRow, tokens: int) -> list[Any]:
        row.own += tokens
        return self._state(row)

    def finite(self, row: SoloRow, tokens: int) -> mx.array:
        return mx.array(True)

    def room(self, row: SoloRow) -> int:
        return self.largest - row.own

    def move(self, row: SoloRow) -> None:
        raise ValueError(f"A row holds {self.largest} tokens at most.")

    def close(self, row: SoloRow, *, scrub: bool = False) -> None:
        self._row = None
        row.caches = []

    def join(self, rows: list[SoloRow]) -> None:
        for row in rows:
            row.decoding = True

    def arrange(self) -> list[SoloRow | None]:
        if self._row is None or not self._row.decoding:
            return []
        self._row.lane = 0
        return [self._row]

    def views(self, only: list[SoloRow] | None = None) -> list[Any]:
        """`only` is the row itself: there is no other. A trial of it does leave its trace in the caches."""
        assert self._row is not None
        return self._row.caches

    def rewind(self) -> None:
        """Its only row has failed; there is nobody to go on for."""

    def order(self, rows: list[SoloRow]) -> list[SoloRow]:
        return rows

    def advance(self) -> list[Any]:
        assert self._row is not None
        self._row.own += 1
        return self._state(self._row)

    def _state(self, row: SoloRow) -> list[Any]:
        return [cache.state for cache in row.caches if not cache.empty()]
