"""Attention where MLX has no kernel for it: float32 on CPUs.

There `mx.fast.scaled_dot_product_attention` is put together from other operations, and two of these take most of its
time: `exp`, 9 ns a number (MLX 0.32 on two cores), where `power` with base 2 takes 3; and choosing by a mask of bools,
3.5 ns, where adding one takes 0.2. And queries that share keys (GQA) go through one product here, not one each. A
decode step of 16 rows takes 0.6 of the time, a chunk of 256 tokens behind 1,000 others 0.6, of a small model's 0.5.
"""

from collections import OrderedDict
from math import e, log2
from typing import Any

import mlx.core as mx

LEAST = 1024
"""Scores under which MLX's way is faster: here are more operations, though cheaper ones."""
NEVER = -1e30
"""Added to the score of what may not be read."""
REMEMBERED = 4
"""Masks in the form that is added: a step needs one for each bank and window."""

Mask = mx.array | str | None

_biases: OrderedDict[tuple[Any, ...], tuple[Any, mx.array]] = OrderedDict()


def suits(queries: mx.array, keys: mx.array, mask: Mask) -> bool:
    """Whether `attention` can take these, and is faster."""
    rows, heads, count, _ = queries.shape
    return (
        queries.dtype == keys.dtype == mx.float32
        and rows * heads * count * keys.shape[2] >= LEAST
        and (not isinstance(mask, mx.array) or mask.ndim == 2 or (mask.ndim == 4 and mask.shape[1] == 1))
    )


def attention(queries: mx.array, keys: mx.array, values: mx.array, scale: float, mask: Mask) -> mx.array:
    """queries [rows, heads, count, width]; keys, values [rows, kv heads, length, width]; mask "causal", or bool or
    float32 that broadcasts to [rows, 1, count, length]. -> [rows, heads, count, value width]."""
    rows, heads, count, width = queries.shape
    kv_heads, length = keys.shape[1], keys.shape[2]
    asked = (queries * (scale * log2(e))).reshape(rows, kv_heads, -1, width)
    scores = asked @ keys.swapaxes(-1, -2)
    if mask is not None and (count > 1 or not isinstance(mask, str)):
        grouped = scores.reshape(rows, kv_heads, -1, count, length) + _bias(mask, count, length)
        scores = grouped.reshape(rows, kv_heads, -1, length)
    weights = mx.power(2.0, scores - mx.max(scores, axis=-1, keepdims=True))
    answer = (weights @ values) / mx.sum(weights, axis=-1, keepdims=True)
    return answer.reshape(rows, heads, count, -1)


def softmax(scores: mx.array) -> mx.array:
    """Over the last axis."""
    weights = mx.power(2.0, (scores - mx.max(scores, axis=-1, keepdims=True)) * log2(e))
    return weights / mx.sum(weights, axis=-1, keepdims=True)


def forget() -> None:
    """Lets go of the last steps' masks."""
    _biases.clear()


def _bias(mask: mx.array | str, count: int, length: int) -> mx.array:
    """What the mask adds to scores [rows, kv heads, heads of each, count, length], in powers of 2. All layers of a step
    have the same mask, so it is remembered."""
    key = (mask, count, length) if isinstance(mask, str) else (id(mask), count, length)
    if key not in _biases:
        # The mask itself is held as well: its id would otherwise be given to another.
        _biases[key] = (mask, _made(mask, count, length))
        if len(_biases) > REMEMBERED:
            _biases.popitem(last=False)
    return _biases[key][1]


def _made(mask: mx.array | str, count: int, length: int) -> mx.array:
    if isinstance(mask, str):
        assert mask == "causal", mask
        return mx.where(mx.arange(length) <= mx.arange(length - count, length)[:, None], 0.0, NEVER)
    bias = mx.where(mask, 0.0, NEVER) if mask.dtype == mx.bool_ else mask * log2(e)
    return bias if bias.ndim == 2 else bias[:, :, None]
