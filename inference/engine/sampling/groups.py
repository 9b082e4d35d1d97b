"""How a row is drawn, by its own settings alone, and the backend's choice of method.

| way     | settings                 | method                                                             |
|---------|--------------------------|--------------------------------------------------------------------|
| FREE    | temperature, min-p, XTC  | no order needed: draws by id from the whole vocabulary             |
| SHORT   | top-k <= 256, and others | the top-k candidates; nothing else is even exponentiated           |
| NUCLEUS | top-p without top-k      | CPU: 256 candidates, certain or not; GPU: as LONG                  |
| LONG    | top-k > 256              | CPU: full sort; GPU: bisection. Always certain                     |
"""

from enum import Enum

import mlx.core as mx

from inference.engine.backend import has_gpu
from inference.engine.protocol import Sampling
from inference.engine.sampling.bisection import draw_by_bisection
from inference.engine.sampling.draw import draw_by_id, weigh
from inference.engine.sampling.ranking import likeliest, ordered, ranks
from inference.engine.sampling.truncation import Chance, draw_in_order, exclude_top_choices

CANDIDATES = 256
SORTED_VOCAB = 2048
"""Up to here a sort (0.1 ms a row) costs less than the doubt."""

Ids = tuple[mx.array, mx.array | None]
"""Drawn ids, int64 [rows, 1], and which are certain, bool [rows, 1]; None: all."""


class Way(Enum):
    FREE = "free"
    SHORT = "short"
    NUCLEUS = "nucleus"
    LONG = "long"


def way_of(sampling: Sampling, vocab: int) -> Way | None:
    """None: greedy, which top-k 1 and top-p 0 are, too."""
    if sampling.temperature <= 0 or sampling.top_k == 1 or sampling.top_p <= 0:
        return None
    if 0 < sampling.top_k <= CANDIDATES:
        return Way.SHORT
    if 0 < sampling.top_k < vocab:
        return Way.LONG
    return Way.NUCLEUS if sampling.top_p < 1 else Way.FREE


def draw(way: Way, logits: mx.array, chance: Chance) -> Ids:
    """float32 logits [rows, vocab] of rows that are drawn in this way."""
    if way is Way.FREE:
        return draw_free(logits, chance), None
    if way is Way.SHORT:
        return draw_in_order(likeliest(logits, min(CANDIDATES, logits.shape[-1])), chance)[0], None
    if way is Way.LONG or has_gpu() or logits.shape[-1] <= SORTED_VOCAB:
        return draw_whole(logits, chance), None
    return draw_nucleus(logits, chance)


def draw_free(logits: mx.array, chance: Chance) -> mx.array:
    """Temperature, min-p and XTC: each is a threshold, so no order is needed."""
    settings = chance.settings
    weights = weigh(logits, mx.max(logits, axis=-1, keepdims=True), settings.inverse)
    if settings.any_min_p:
        weights = mx.where(weights >= settings.min_p, weights, 0)
    if settings.any_xtc:
        order = ranks(logits, mx.arange(logits.shape[-1]))
        coin = settings.xtc_coin(chance.uniforms)
        weights = exclude_top_choices(weights, order, chance.protected, settings.xtc_threshold, coin)
    return draw_by_id(weights, chance.uniforms[:, :1])


def draw_nucleus(logits: mx.array, chance: Chance) -> tuple[mx.array, mx.array]:
    """Top-p from the likeliest tokens and the exact mass of all."""
    best = mx.max(logits, axis=-1, keepdims=True)
    total = mx.sum(weigh(logits, best, chance.settings.inverse), axis=-1, keepdims=True)
    return draw_in_order(likeliest(logits, CANDIDATES), chance, total)


def draw_whole(logits: mx.array, chance: Chance) -> mx.array:
    """Any truncation, always certain. The one place where the backend decides."""
    if has_gpu():
        return draw_by_bisection(logits, chance)
    return draw_in_order(ordered(logits), chance)[0]
