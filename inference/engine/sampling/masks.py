"""Grammar: which tokens each row may say next, from whoever follows its grammar."""

import collections.abc
from typing import Protocol

import mlx.core as mx

from inference.engine.sequence import Sequence

_WORD = 32

Lanes = collections.abc.Sequence[Sequence | None]
"""A batch's rows in the order of its lanes; None is a dead lane, which is computed and ignored."""


class Masks(Protocol):
    """Asked once per draw for all lanes."""

    def bits(self, rows: Lanes) -> tuple[list[int], mx.array] | None:
        """The places of rows that may not say everything, and their allowed tokens in llguidance's form: int32 or
        uint32 [places, ceil(n / 32)], token t is bit t % 32 of word t // 32. Tokens after its end are forbidden, for a
        padded vocabulary has logits without tokens. None: every row may say everything.
        """
        ...


def apply_masks(logits: mx.array, rows: Lanes, masks: Masks) -> mx.array:
    """float32 logits [rows, vocab] with -inf where a row's grammar forbids the token."""
    vocab = logits.shape[-1]
    asked = masks.bits(rows)
    if asked is None:
        return logits
    places, bits = asked
    allowed = _unpacked(_fitted(bits, vocab), vocab)
    return logits.at[mx.array(places, mx.int32)].add(mx.where(allowed, 0.0, -float("inf")))


def _fitted(words: mx.array, vocab: int) -> mx.array:
    words = words.astype(mx.uint32)[:, : -(-vocab // _WORD)]
    return mx.pad(words, [(0, 0), (0, -(-vocab // _WORD) - words.shape[1])])


def _unpacked(words: mx.array, vocab: int) -> mx.array:
    """uint32 [rows, words] -> bool [rows, vocab]."""
    bits = (words[:, :, None] >> mx.arange(_WORD, dtype=mx.uint32)) & 1
    return bits.reshape(words.shape[0], -1)[:, :vocab].astype(mx.bool_)
