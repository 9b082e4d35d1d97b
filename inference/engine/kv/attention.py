"""Attention in parts: by length, and over a shared prefix; and by the way that suits the backend.

The models of mlx-lm call `scaled_dot_product_attention` with their cache; `install` puts a step between, so that a
cache with an `attend` of its own does it instead.
"""

import functools
import sys
from typing import Any, cast

import mlx.core as mx
from mlx_lm.models import base

from inference.engine import backend
from inference.engine.kv import unfused

_plain = base.scaled_dot_product_attention


class Altered(Exception):
    """The model does something to its masks that attention in parts can't follow."""


@functools.wraps(_plain)
def _routed(
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    cache: Any,
    scale: float,
    mask: Any = None,
    sinks: mx.array | None = None,
) -> mx.array:
    attend = getattr(cache, "attend", None)
    if attend is not None:
        answer: mx.array = attend(queries, scale, mask, sinks)
        return answer
    if not hasattr(cache, "bits") and sinks is None and _unfused(queries, keys, mask):
        return unfused.attention(queries, keys, values, scale, mask)
    return cast(mx.array, _plain(queries, keys, values, cache=cache, scale=scale, mask=mask, sinks=sinks))


def install() -> None:
    """For every model module loaded so far. To be called after a model is loaded; calling it again is harmless."""
    for name, module in list(sys.modules.items()):
        if name.startswith("mlx_lm.models.") and getattr(module, "scaled_dot_product_attention", None) is _plain:
            module.scaled_dot_product_attention = _routed  # type: ignore[attr-defined]


def attention(
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    scale: float,
    mask: mx.array | str | None,
    sinks: mx.array | None,
) -> mx.array:
    """`mx.fast.scaled_dot_product_attention`, or what is faster here."""
    if sinks is None and _unfused(queries, keys, mask):
        return unfused.attention(queries, keys, values, scale, mask)
    return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask, sinks=sinks)


def _unfused(queries: mx.array, keys: mx.array, mask: mx.array | str | None) -> bool:
    return not backend.has_gpu() and unfused.suits(queries, keys, mask)


def shared_attention(
    queries: mx.array,
    prefix: list[tuple[mx.array, mx.array]],
    keys: mx.array,
    values: mx.array,
    scale: float,
    mask: mx.array | None,
    prefix_mask: mx.array | None,
    sinks: mx.array | None,
) -> mx.array:
    """Attention of rows that share a prefix: the prefix is read once for all of them, as one matrix product, and a
    softmax over both parts joins it with each row's own (Hydragen, Juravsky et al. 2024, section 3.2).

    queries [rows, heads, 1, width]; prefix: runs of keys and values [1, kv heads, tokens, width]; keys, values
    [rows, kv heads, cells, width]; mask bool [rows, 1, 1, cells]; prefix_mask bool
    [rows, 1, 1, tokens of all runs], None where all may be read; sinks [heads]. -> [rows, heads, 1, value width]
    """
    rows, heads, _, width = queries.shape
    kv_heads = keys.shape[1]
    each = heads // kv_heads
    asked = (queries * scale).reshape(rows, kv_heads, each, width)
    together = asked.transpose(1, 0, 2, 3).reshape(kv_heads, rows * each, width)
    scores = []
    for run, _ in prefix:
        score = together @ run[0].swapaxes(-1, -2)
        scores.append(score.reshape(kv_heads, rows, each, -1).transpose(1, 0, 2, 3))
    if prefix_mask is not None:
        whole = mx.concatenate(scores, axis=-1)
        scores = [mx.where(prefix_mask, whole, mx.finfo(whole.dtype).min)]
    own = asked @ keys.swapaxes(-1, -2)
    if mask is not None:
        own = mx.where(mask, own, mx.finfo(own.dtype).min)
    scores.append(own)
    if sinks is not None:
        sink = mx.broadcast_to(sinks.reshape(1, kv_heads, each, 1), (rows, kv_heads, each, 1))
        scores.append(sink.astype(own.dtype))
    whole = mx.concatenate(scores, axis=-1)
    slow = whole.dtype == mx.float32 and not backend.has_gpu()
    weights = unfused.softmax(whole) if slow else mx.softmax(whole, axis=-1, precise=True)
    answer = mx.zeros((), weights.dtype)
    at = 0
    for _, run in prefix:
        part = weights[..., at : at + run.shape[2]].transpose(1, 0, 2, 3).reshape(kv_heads, rows * each, -1)
        answer = answer + (part @ run[0]).reshape(kv_heads, rows, each, -1).transpose(1, 0, 2, 3)
        at += run.shape[2]
    answer = answer + weights[..., at : at + values.shape[2]] @ values
    return answer.reshape(rows, heads, 1, -1)
