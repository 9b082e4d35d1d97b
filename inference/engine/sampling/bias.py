"""Logit biases: added to the logits after the penalties."""

import mlx.core as mx

from inference.engine.sampling.masks import Lanes

LIMIT = 100.0
"""OpenAI's limit, where a bias stops being an addition: -100 bans, 100 selects exclusively."""
FORCE = 1e4
"""Far above any model's logits, and still fine enough (1e-3) to tell several forced tokens apart."""


class Biases:
    """The biases of a batch's rows as one scatter."""

    def __init__(self, rows: Lanes, vocab: int):
        entries = [
            (place, token, _value(bias))
            for place, row in enumerate(rows)
            if row is not None
            for token, bias in row.sampling.logit_bias.items()
            if 0 <= token < vocab  # MLX checks no bounds: one past the end is the next row's first token
        ]
        self._at = None
        if entries:
            places, tokens, values = zip(*entries, strict=True)
            self._at = mx.array(places, mx.int32), mx.array(tokens, mx.int32), mx.array(values, mx.float32)

    def apply(self, logits: mx.array) -> mx.array:
        """float32 [rows, vocab] to the same."""
        if self._at is None:
            return logits
        places, tokens, values = self._at
        return logits.at[places, tokens].add(values)


def _value(bias: float) -> float:
    if bias <= -LIMIT:
        return -float("inf")
    return FORCE if bias >= LIMIT else bias
