"""Which tokens a row may still draw: top-k, then top-p of what top-k left, then min-p, then XTC of what is left.

The temperature comes first (as in vLLM; mlx-lm truncates at temperature 1). The likeliest token always stays.

- top-k: the k likeliest, ties by id.
- top-p (nucleus; Holtzman et al. 2019): the shortest run of likeliest tokens that reaches p of top-k's mass.
- min-p (Nguyen et al. 2024): at least min_p of the likeliest token's probability.
- XTC ("exclude top choices"; p-e-w, oobabooga/text-generation-webui pull request 6335): with probability
  xtc_probability, of the tokens at or above xtc_threshold (of the truncated, renormalised distribution) all go but the
  least likely. Protected tokens (end of text, newline) never go, as in mlx-lm's `apply_xtc`.
"""

from dataclasses import dataclass
from functools import cached_property

import mlx.core as mx

from inference.engine.protocol import Sampling
from inference.engine.sampling.draw import (
    ONE,
    SCALE,
    as_part,
    fraction,
    inverse_temperature,
    place_of,
    share,
    weigh,
)
from inference.engine.sampling.ranking import ids_of, logits_of

LAST = 2**62
"""After every rank."""


class Settings:
    """The sampling of some rows as columns [rows, 1]."""

    def __init__(self, rows: list[Sampling], vocab: int):
        self.rows = rows
        self.vocab = vocab

    @cached_property
    def inverse(self) -> mx.array:
        return mx.array([[inverse_temperature(s.temperature)] for s in self.rows], mx.float32)

    @cached_property
    def top_k(self) -> mx.array:
        return mx.array([[s.top_k if s.top_k > 0 else self.vocab] for s in self.rows], mx.int64)

    @cached_property
    def top_p(self) -> mx.array:
        return mx.array([[fraction(s.top_p)] for s in self.rows], mx.int64)

    @cached_property
    def min_p(self) -> mx.array:
        """As a weight: the likeliest token's is `ONE`."""
        return mx.array([[fraction(s.min_p) * (ONE // SCALE)] for s in self.rows], mx.int64)

    @cached_property
    def any_min_p(self) -> bool:
        return any(s.min_p > 0 for s in self.rows)

    @cached_property
    def any_xtc(self) -> bool:
        return any(s.xtc_probability > 0 for s in self.rows)

    @cached_property
    def xtc_threshold(self) -> mx.array:
        return mx.array([[fraction(s.xtc_threshold)] for s in self.rows], mx.int64)

    def xtc_coin(self, uniforms: mx.array) -> mx.array:
        """Whether XTC applies this time, bool [rows, 1]."""
        probability = mx.array([[s.xtc_probability] for s in self.rows], mx.float32)
        return uniforms[:, 1:] < probability


@dataclass(slots=True)
class Chance:
    """What the rows of one group draw with."""

    settings: Settings
    uniforms: mx.array
    """float32 [rows, 2], of `draw.uniforms`."""
    protected: mx.array
    """bool [vocab]: what XTC may not remove."""

    def select(self, places: list[int]) -> "Chance":
        rows = [self.settings.rows[i] for i in places]
        return Chance(Settings(rows, self.settings.vocab), self.uniforms[mx.array(places, mx.int32)], self.protected)


def draw_in_order(ranked: mx.array, chance: Chance, total: mx.array | None = None) -> tuple[mx.array, mx.array]:
    """Truncates and draws from ranks in order, int64 [rows, n]: the vocabulary, or its n likeliest tokens.

    `total`, int64 [rows, 1], is the mass of the whole vocabulary where tokens after the n count too; without it
    the n are all there is. Returns ids and whether they are certain, int64 and bool [rows, 1].

    The inverse CDF runs in the order of likelihood, so that most draws are certain even where the nucleus goes on
    after the n: its mass is then known up to one token's weight, and only a draw that this weight could change, or
    one that lands after the n, is not.
    """
    settings = chance.settings
    logits, ids = logits_of(ranked), ids_of(ranked)
    count = ranked.shape[-1]
    weights = weigh(logits, logits[:, :1], settings.inverse)
    place = mx.arange(count, dtype=mx.int64)[None]
    weights = mx.where(place < settings.top_k, weights, 0)
    cumulative = mx.cumsum(weights, axis=-1)
    need = share(cumulative[:, -1:] if total is None else total, settings.top_p)
    kept = ((cumulative - weights < need) & (weights >= settings.min_p)) | (place == 0)
    weights = mx.where(kept, weights, 0)
    uncertain = mx.zeros(need.shape, mx.bool_)
    if settings.any_xtc:
        coin = settings.xtc_coin(chance.uniforms)
        uncertain = coin
        # A row of NaN may rank padding, whose ids lie after the vocabulary.
        protected = chance.protected[mx.minimum(ids, settings.vocab - 1)]
        weights = exclude_top_choices(weights, place, protected, settings.xtc_threshold, coin)
    cumulative = mx.cumsum(weights, axis=-1)
    mass, part = cumulative[:, -1:], as_part(chance.uniforms[:, :1])
    chosen = place_of(cumulative, share(mass, part))
    certain = mx.ones(need.shape, mx.bool_)
    if total is not None:
        unfinished = kept[:, -1:] & (cumulative[:, -1:] < need)
        low = place_of(cumulative, share(need, part))
        high = place_of(cumulative, share(need + weights[:, -1:], part))
        bounded = (low == high) & (high < count) & ~uncertain & (settings.min_p == 0)
        certain = ~unfinished | bounded
        chosen = mx.where(unfinished, low, chosen)
    return mx.take_along_axis(ids, mx.minimum(chosen, count - 1), axis=-1), certain


def exclude_top_choices(
    weights: mx.array, order: mx.array, protected: mx.array, threshold: mx.array, coin: mx.array
) -> mx.array:
    """XTC: weights int64 [rows, n] with the top choices at 0 where the coin, bool [rows, 1], says so.

    `order` grows from the likeliest token on; threshold int64 [rows, 1] in units of 2^-32; protected bool [.., n].
    """
    mass = mx.sum(weights, axis=-1, keepdims=True)
    top = (weights > 0) & (weights >= share(mass, threshold))
    least = mx.max(mx.where(top, order, -LAST), axis=-1, keepdims=True)
    return mx.where(coin & top & (order != least) & ~protected, 0, weights)
