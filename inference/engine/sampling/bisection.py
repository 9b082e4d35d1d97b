"""Truncation and draw without any sort: thresholds found by bisection over the bit patterns of the logits.

Always certain, for a nucleus of any size, with nothing for the host to decide: 32 passes per threshold. On a GPU a
pass costs little and a sort of the vocabulary much (Metal's partition is a sort, too); on the CPU backend it is the
other way round. After the Dual Pivot sampling of FlashInfer (Ye et al. 2025), with exact sums and ties.
"""

import mlx.core as mx

from inference.engine.sampling.draw import as_part, share, weigh
from inference.engine.sampling.ranking import levels, ranks
from inference.engine.sampling.truncation import Chance, exclude_top_choices

_LOWEST, _HIGHEST = -(2**31), 2**31


def draw_by_bisection(logits: mx.array, chance: Chance) -> mx.array:
    """float32 logits [rows, vocab] -> ids int64 [rows, 1], the same as `draw_in_order` of the sorted vocabulary."""
    settings = chance.settings
    level = levels(logits)
    best = mx.max(logits, axis=-1, keepdims=True)
    weights = weigh(logits, best, settings.inverse)
    likeliest = mx.arange(logits.shape[-1]) == mx.argmax(logits, axis=-1, keepdims=True)
    if any(s.top_k > 0 for s in settings.rows):
        weights = mx.where(_shortest_run(level, mx.ones_like(weights), settings.top_k), weights, 0)
    need = share(mx.sum(weights, axis=-1, keepdims=True), settings.top_p)
    kept = (_shortest_run(level, weights, need) & (weights >= settings.min_p)) | likeliest
    weights = mx.where(kept, weights, 0)
    if settings.any_xtc:
        order = ranks(logits, mx.arange(logits.shape[-1]))
        coin = settings.xtc_coin(chance.uniforms)
        weights = exclude_top_choices(weights, order, chance.protected, settings.xtc_threshold, coin)
    target = share(mx.sum(weights, axis=-1, keepdims=True), as_part(chance.uniforms[:, :1]))
    # The first token whose running sum passes the target is the last of the shortest run that reaches target + 1.
    last, ties = _crossing(level, weights, target + 1)
    tied = (level == last) & (weights > 0)
    return mx.argmax(tied & (mx.cumsum(tied, axis=-1) == ties), axis=-1, keepdims=True).astype(mx.int64)


def _shortest_run(level: mx.array, weights: mx.array, need: mx.array) -> mx.array:
    """The shortest run of likeliest tokens whose weight reaches `need`, as a mask bool [rows, vocab]."""
    last, ties = _crossing(level, weights, need)
    tied = (level == last) & (weights > 0)
    return (level > last) | (tied & (mx.cumsum(tied, axis=-1) <= ties))


def _crossing(level: mx.array, weights: mx.array, need: mx.array) -> tuple[mx.array, mx.array]:
    """Where the weights, added from the likeliest token on, reach `need`: the level of the last token added, and how
    many of its equals with any weight, by id, it took; int32 and int64 [rows, 1]. `level` is int32 and `weights` int64
    [rows, vocab].
    """
    low = mx.full(need.shape, _LOWEST, mx.int64)
    high = mx.full(need.shape, _HIGHEST, mx.int64)
    for _ in range(32):
        middle = (low + high) >> 1
        reached = mx.sum(mx.where(level >= middle.astype(mx.int32), weights, 0), axis=-1, keepdims=True) >= need
        low, high = mx.where(reached, middle, low), mx.where(reached, high, middle)
    last = low.astype(mx.int32)
    above = mx.sum(mx.where(level > last, weights, 0), axis=-1, keepdims=True)
    each = mx.maximum(mx.max(mx.where(level == last, weights, 0), axis=-1, keepdims=True), 1)
    return last, (need - above + each - 1) // each
