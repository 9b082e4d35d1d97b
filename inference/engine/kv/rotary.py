"""Rotary position embeddings whose angles are computed once per step instead of in every layer.

Where MLX has no kernel for `mx.fast.rope`, on CPUs, each call computes cosines and sines of all angles anew, in some
twenty small operations: for queries and keys of every layer the same. `install` puts a step between that remembers
them. What it computes is equal to the bit.
"""

from collections import OrderedDict
from dataclasses import dataclass
from math import log
from typing import Any

import mlx.core as mx

REMEMBERED = 8
"""Tables of angles: of one step, a model needs one for each of its frequencies and shapes."""

_plain = mx.fast.rope


@dataclass(slots=True, frozen=True)
class Table:
    """What turns x into x * cosines + swapped(x) * sines, both [..., tokens, dims] in x's dtype."""

    cosines: mx.array
    sines: mx.array
    held: tuple[Any, ...]
    """The arrays whose ids are in its key, which would otherwise be given to others."""


_tables: OrderedDict[tuple[Any, ...], Table] = OrderedDict()
_fixed: dict[int, mx.array] = {}


def install() -> None:
    """For the whole process. Calling it again is harmless."""
    mx.fast.rope = rotate


def fix(positions: mx.array) -> None:
    """A new step with these positions of its rows, int32 [rows]: nobody writes to this array."""
    forget()
    _fixed[id(positions)] = positions


def forget() -> None:
    """Lets go of the last step's."""
    _tables.clear()
    _fixed.clear()


def rotate(
    a: mx.array,
    dims: int,
    *,
    traditional: bool,
    base: float | None,
    scale: float,
    offset: int | mx.array,
    freqs: mx.array | None = None,
    stream: Any = None,
) -> mx.array:
    """`mx.fast.rope`, see there."""
    array = isinstance(offset, mx.array)
    if a.ndim != 4 or (array and id(offset) not in _fixed):
        return _plain(
            a, dims, traditional=traditional, base=base, scale=scale, offset=offset, freqs=freqs, stream=stream
        )
    place = id(offset) if array else offset
    key = (array, place, a.shape[2], a.dtype, dims, traditional, base, scale, id(freqs))
    table = _tables.get(key)
    if table is None:
        table = _tables[key] = _table(a, dims, traditional, base, scale, offset, freqs)
        if len(_tables) > REMEMBERED:
            _tables.popitem(last=False)
    turning = a if dims == a.shape[3] else a[..., :dims]
    turned = turning * table.cosines + _swapped(turning, traditional) * table.sines
    return turned if turning is a else mx.concatenate([turned, a[..., dims:]], axis=-1)


def _table(
    a: mx.array,
    dims: int,
    traditional: bool,
    base: float | None,
    scale: float,
    offset: int | mx.array,
    freqs: mx.array | None,
) -> Table:
    """Step by step what the fallback of `mx.fast.rope` does, so that not even roundings differ."""
    half = dims // 2
    first = offset[:, None] if isinstance(offset, mx.array) else offset
    positions = (mx.arange(a.shape[2], dtype=mx.float32) + first) * scale
    if freqs is not None:
        inverse = mx.reciprocal(freqs)
    else:
        assert base is not None
        inverse = mx.exp(mx.arange(0, -half, -1, dtype=mx.float32) * (log(base) / half))
    angles = positions[..., None] * inverse
    if isinstance(offset, mx.array):
        angles = angles[:, None]
    cosines, sines = mx.cos(angles).astype(a.dtype), mx.sin(angles).astype(a.dtype)
    if traditional:
        pairs = mx.stack([cosines, cosines], axis=-1), mx.stack([-sines, sines], axis=-1)
        cosines, sines = (pair.flatten(-2) for pair in pairs)
    else:
        cosines = mx.concatenate([cosines, cosines], axis=-1)
        sines = mx.concatenate([-sines, sines], axis=-1)
    return Table(cosines, sines, (offset, freqs))


def _swapped(x: mx.array, traditional: bool) -> mx.array:
    """The other number of each pair: neighbours, or half the width apart."""
    if traditional:
        return x.reshape(*x.shape[:-1], -1, 2)[..., ::-1].reshape(x.shape)
    half = x.shape[-1] // 2
    return mx.concatenate([x[..., half:], x[..., :half]], axis=-1)
