"""Log-probabilities on demand: of the model's raw logits, before penalties, biases, grammar and temperature."""

from dataclasses import dataclass
from typing import cast

import mlx.core as mx

from inference.engine.sampling.masks import Lanes
from inference.engine.sampling.ranking import ids_of, likeliest, logits_of

MOST = 20
"""OpenAI's limit of `top_logprobs`."""
FLOOR = -9999.0
"""What OpenAI reports for a token that has no probability at all; JSON has no infinity."""


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """One drawn token's natural logarithm of probability, and the likeliest tokens with theirs, likeliest first."""

    chosen: float
    top: list[tuple[int, float]]


class Logprobs:
    """The log-probabilities of one draw, for the rows that asked. Lazy; read with `records` once evaluated."""

    def __init__(self, places: list[int], counts: list[int], logits: mx.array, tokens: mx.array):
        """`places` are the asking rows', which want their `counts` likeliest tokens; logits float32 [asking, vocab] and
        tokens int32 [asking] are theirs."""
        self.places = places
        self._counts = counts
        total = mx.logsumexp(logits, axis=-1, keepdims=True)
        self._chosen = (mx.take_along_axis(logits, tokens[:, None], axis=-1) - total)[:, 0]
        most = min(max(counts), logits.shape[-1])
        self._ids = self._top = None
        if most:
            ranked = likeliest(logits, most)
            self._ids, self._top = ids_of(ranked), logits_of(ranked) - total

    def arrays(self) -> list[mx.array]:
        return [array for array in (self._chosen, self._ids, self._top) if array is not None]

    def records(self) -> dict[int, TokenLogprobs]:
        """By the row's place in the batch. Blocks until they are computed."""
        chosen = cast(list[float], self._chosen.tolist())
        ids = cast(list[list[int]], self._ids.tolist()) if self._ids is not None else [[]] * len(chosen)
        top = cast(list[list[float]], self._top.tolist()) if self._top is not None else [[]] * len(chosen)
        return {
            place: TokenLogprobs(
                chosen=max(chosen[i], FLOOR),
                top=[(token, max(value, FLOOR)) for token, value in zip(ids[i][:count], top[i][:count], strict=True)],
            )
            for i, (place, count) in enumerate(zip(self.places, self._counts, strict=True))
        }


class Wanted:
    """Which rows of a batch want log-probabilities, and how many."""

    def __init__(self, rows: Lanes):
        asking = [
            (place, min(max(row.sampling.logprobs, 0), MOST))
            for place, row in enumerate(rows)
            if row is not None and row.sampling.logprobs is not None
        ]
        self.places = [place for place, _ in asking]
        self._counts = [count for _, count in asking]
        self._at = mx.array(self.places, mx.int32)

    def __call__(self, logits: mx.array, tokens: mx.array) -> Logprobs | None:
        """Raw float32 logits [rows, vocab] and tokens int32 [rows]."""
        if not self.places:
            return None
        return Logprobs(self.places, self._counts, logits[self._at], tokens[self._at])
