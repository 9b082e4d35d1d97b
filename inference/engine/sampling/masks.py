"""Grammar: which tokens each row may say next, from whoever follows its grammar."""

import collections.abc
from typing import Protocol

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from inference.engine.sequence import Sequence

Lanes = collections.abc.Sequence[Sequence | None]
"""A batch's rows in the order of its lanes; None is a dead lane, which is computed and ignored."""
Bits = npt.NDArray[np.int32]
"""Allowed tokens in llguidance's form, [rows, words]: token t is bit t % 32 of word t // 32. Tokens after its end are
forbidden, for a padded vocabulary has logits without tokens."""


class Masks(Protocol):
    """Asked once per draw for all lanes."""

    def bits(self, rows: Lanes) -> tuple[list[int], Bits] | None:
        """The places of rows that may not say everything, and what they may say. None: every row may say
        everything."""
        ...


def apply_masks(logits: mx.array, rows: Lanes, masks: Masks) -> mx.array:
    """float32 logits [rows, vocab] with -inf where a row's grammar forbids the token.

    The bits are unpacked here rather than on the device: a byte per token is soon copied, and what a CPU does in place
    of a shift or of an update of some rows costs several times the draw.
    """
    asked = masks.bits(rows)
    if asked is None:
        return logits
    places, bits = asked
    allowed = np.ones(logits.shape, np.bool_)
    allowed[places] = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little", count=logits.shape[-1])
    return mx.where(mx.array(allowed), logits, -float("inf"))
