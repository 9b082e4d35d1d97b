"""What a prefilling row hands the model: its slot, in the shape of mlx-lm's caches."""

from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import ArraysCache, RotatingKVCache
from mlx_lm.models.cache import create_attention_mask as causal_mask

from inference.engine.kv.banks import Row
from inference.engine.kv.layout import Layout
from inference.engine.kv.pool import Pool


class PrefillView:
    """A plain leaf: a chunk goes straight into the row's slot. Quacks like mlx-lm's KVCache."""

    def __init__(self, row: Row, leaf: int, pool: Pool | None):
        self._row = row
        self._leaf = leaf
        self._pool = pool
        self.offset = row.length

    @property
    def keys(self) -> mx.array:
        return self._row.bank.keys[self._leaf]

    @property
    def values(self) -> mx.array:
        return self._row.bank.values[self._leaf]

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """keys, values [1, heads, chunk, width] -> those of all tokens so far, [1, heads, length, width]."""
        row, bank = self._row, self._row.bank
        start, end = self.offset - row.base, self.offset - row.base + keys.shape[2]
        # MLX checks no bounds: a cell past the end is the neighbour's, another user's context.
        assert 0 <= start < end <= bank.capacity, f"cells {start}:{end} of {bank.capacity}"
        self.offset += keys.shape[2]
        own = []
        for arrays, fresh in ((bank.keys, keys), (bank.values, values)):
            whole = arrays[self._leaf]
            if fresh.shape[-1]:
                whole[row.slot : row.slot + 1, :, start:end] = fresh
            own.append(whole[row.slot : row.slot + 1, :, :end])
        if bank.shared is None:
            return own[0], own[1]
        assert self._pool is not None
        runs = [self._pool.read(self._leaf, *run) for run in bank.shared.runs]
        return (
            mx.concatenate([*(run[0] for run in runs), own[0]], axis=2),
            mx.concatenate([*(run[1] for run in runs), own[1]], axis=2),
        )

    def make_mask(self, N: int, return_array: bool = False, window_size: int | None = None) -> Any:
        return causal_mask(N, offset=self.offset, return_array=return_array, window_size=window_size)

    def size(self) -> int:
        return self.offset

    def empty(self) -> bool:
        return self.offset == 0

    def is_trimmable(self) -> bool:
        return False


class UnusedView:
    """For a layer that never touches its cache."""

    offset = 0

    def make_mask(self, N: int, return_array: bool = False, window_size: int | None = None) -> Any:
        return causal_mask(N, offset=0, return_array=return_array, window_size=window_size)

    def empty(self) -> bool:
        return True


def private_caches(layout: Layout) -> dict[int, Any]:
    """Caches of a row of its own for the leaves that can't be prefilled in a slot."""
    caches: dict[int, Any] = {}
    for leaf in layout.rings:
        caches[leaf] = RotatingKVCache(max_size=layout.leaves[leaf].window)
    for leaf in layout.states:
        caches[leaf] = ArraysCache(len(layout.leaves[leaf].shapes))
    return caches


def prefill_views(layout: Layout, row: Row, pool: Pool | None) -> list[Any]:
    """The model's `cache` argument for the row's next chunk."""
    parts: list[Any] = []
    for leaf, spec in enumerate(layout.leaves):
        if spec.kind == "plain":
            parts.append(PrefillView(row, leaf, pool))
        else:
            parts.append(row.private[leaf] if leaf in row.private else UnusedView())
    return layout.assemble(parts)
