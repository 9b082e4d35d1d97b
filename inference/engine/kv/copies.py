"""Between the pool's blocks and a row: slices, a few leaves per evaluation."""

from collections.abc import Iterator

import mlx.core as mx

from inference.engine.kv.banks import Row
from inference.engine.kv.store import Store
from inference.engine.prefix.records import Copy

LEAVES_AT_ONCE = 8
"""Leaves copied in one evaluation: more of them only raise the peak."""


def restore(store: Store, row: Row, copies: list[Copy], tokens: int) -> None:
    """Fills a fresh row with the cached tokens [row.base, tokens); rings get as many of the last as they hold."""
    pool, layout = store.pool, store.layout
    assert pool is not None
    touched: list[mx.array] = []
    for count, leaf in enumerate(layout.per_token, 1):
        window = layout.leaves[leaf].window
        if window:
            first = max(0, tokens - window)
            parts = [pool.read(leaf, *where) for where, _ in _within(copies, first, tokens)]
            if parts:
                cache = row.private[leaf]
                cache.keys = mx.contiguous(mx.concatenate([part[0] for part in parts], axis=2))
                cache.values = mx.contiguous(mx.concatenate([part[1] for part in parts], axis=2))
                cache.offset, cache._idx = tokens, tokens - first
                touched += (cache.keys, cache.values)
        else:
            keys, values = row.bank.keys[leaf], row.bank.values[leaf]
            for where, token in _within(copies, row.base, tokens):
                start = token - row.base
                end = start + where[1] - where[0]
                assert end <= row.bank.capacity, f"cells {start}:{end} of {row.bank.capacity}"
                for array, part in zip((keys, values), pool.read(leaf, *where), strict=True):
                    if part.shape[-1]:
                        array[row.slot : row.slot + 1, :, start:end] = part
            touched += (keys, values)
        if count % LEAVES_AT_ONCE == 0:
            mx.eval(touched)
            touched = []
    mx.eval(touched)


def save(store: Store, row: Row, copies: list[Copy]) -> None:
    """Copies tokens of a row to their places in the pool; the row must still hold them."""
    pool, layout = store.pool, store.layout
    assert pool is not None
    touched: list[mx.array] = []
    for count, leaf in enumerate(layout.per_token, 1):
        for position, token, length in copies:
            for keys, values in store.read(row, leaf, token, token + length):
                pool.write(leaf, position, keys, values)
                position += keys.shape[2]
        touched += pool.arrays(leaf)
        if count % LEAVES_AT_ONCE == 0:
            mx.eval(touched)
            touched = []
    mx.eval(touched)


def _within(copies: list[Copy], start: int, end: int) -> Iterator[tuple[tuple[int, int], int]]:
    """The copies cut to the tokens [start, end): positions in the pool, and the first token."""
    for position, token, count in copies:
        first, last = max(start, token), min(end, token + count)
        if first < last:
            yield (position + first - token, position + last - token), first
