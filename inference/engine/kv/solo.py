"""One row at a time with the model's own caches: for models that fail the self-test, and for --runtime-mode simple
where equal answers matter more than anything."""

from collections.abc import Iterable
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from inference.engine.kv.banks import Bank, Row, Shared
from inference.engine.kv.capacity import capacity_for
from inference.engine.kv.layout import Layout
from inference.engine.kv.store import Store


class SoloRow(Row):
    """The place of the only sequence, in no bank."""

    def __init__(self, caches: list[Any], capacity: int):
        super().__init__(Bank(Layout([], []), capacity, None, 1), 0)
        self.caches = caches


class SoloStore(Store):
    """A Store with room for one row."""

    def __init__(self, model: Any, *, largest: int):
        super().__init__(Layout([], []), largest=largest, max_rows=1, grouped=False)
        self._model = model
        self._row: SoloRow | None = None

    @property
    def rewinds(self) -> bool:
        """The model's own caches go forward only: whatever was tried has left its trace in them."""
        return False

    @property
    def nbytes(self) -> int:
        return sum(cache.nbytes for cache in self._row.caches if not cache.empty()) if self._row else 0

    def open(self, tokens: int, shared: Shared | None = None) -> Row:
        """Raises ValueError beyond the largest slot, or beside another row."""
        if self._row is not None:
            raise ValueError("This model holds one row at a time.")
        capacity_for(tokens, self.largest)
        self._row = SoloRow(make_prompt_cache(self._model), self.largest)
        return self._row

    def prefill_caches(self, row: Row) -> list[Any]:
        return self._caches

    def written(self, row: Row) -> list[Any]:
        return self._state()

    def finite(self, row: Row, start: int, end: int) -> mx.array:
        return mx.array(True)

    def room(self, row: Row) -> int:
        return self.largest - row.own

    def move(self, row: Row) -> None:
        raise ValueError(f"A row holds {self.largest} tokens at most.")

    def close(self, row: Row, *, scrub: bool = False) -> None:
        self._row = None

    def join(self, rows: list[Row]) -> None:
        for row in rows:
            row.decoding = True

    def arrange(self) -> list[Row | None]:
        if self._row is None or not self._row.decoding:
            return []
        self._row.lane = 0
        return [self._row]

    def views(self, only: list[Row] | None = None, spans: Iterable[tuple[Row, int]] = ()) -> list[Any]:
        """`only` is the row itself: there is no other. A trial of it does leave its trace in the caches."""
        return self._caches

    def rewind(self) -> None:
        """Its only row has failed; there is nobody to go on for."""

    def order(self, rows: list[Row]) -> list[Row]:
        return rows

    def advance(self) -> list[Any]:
        assert self._row is not None
        self._row.own += 1
        return self._state()

    @property
    def _caches(self) -> list[Any]:
        assert self._row is not None
        return self._row.caches

    def _state(self) -> list[Any]:
        return [cache.state for cache in self._caches if not cache.empty()]
