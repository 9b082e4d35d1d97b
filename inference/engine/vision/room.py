"""What looking at pictures takes of the memory that is planned before the first request, so that no picture is the end
of an engine."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from PIL import Image

from inference.engine.vision.looking import AHEAD_BYTES
from inference.engine.vision.parts import SCORE_BYTES

if TYPE_CHECKING:
    from inference.engine.vision.eye import Eye

LARGEST = 4096
"""Pixels a side of the picture that is planned for: processors make larger ones smaller, as a rule below this."""
KEPT_BYTES = 256 << 20
"""Of features that no running request needs, for when their picture comes again."""
WAITING_BYTES = 512 << 20
"""Of pictures that wait to be looked at, as the model's processor has made them ready."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Room:
    """encoder: bytes that one look at the largest picture takes; token: bytes of features for each token of a row;
    waiting: bytes of pictures that may wait to be looked at."""

    encoder: int
    token: int
    waiting: int

    @property
    def reserved(self) -> int:
        """Bytes beside weights, rows and prefix cache."""
        return self.encoder + self.waiting + KEPT_BYTES + AHEAD_BYTES


def room_of(eye: "Eye", *, token: int) -> Room:
    """By a trial of the model's own processor, and the shapes of its encoder's layers. token: bytes of the features of
    one."""
    inputs = eye.alone(Image.new("RGB", (LARGEST, LARGEST)))
    given = sum(value.nbytes for value in inputs.values())
    encoder = 2 * given + _activations(eye.encoder, inputs) + token * eye.tokens_of(inputs)
    room = Room(encoder=encoder, token=token, waiting=max(WAITING_BYTES, given))
    log.info("pictures take up to %d MiB, %d of them for one look", room.reserved >> 20, encoder >> 20)
    return room


def _activations(encoder: list[nn.Module], inputs: dict[str, Any]) -> int:
    """Bytes, in the worst layer: its input and output a few times over, its widest part twice, and the scores of some
    queries, before and after their softmax."""
    modules = [module for each in encoder for module in each.modules()]
    convolution = next((each for each in modules if isinstance(each, nn.Conv2d | nn.Conv3d)), None)
    pixels = sum(value.size for name, value in inputs.items() if name.startswith("pixel_values"))
    patches = -(-pixels // (convolution.weight[0].size if convolution is not None else 3 * 14 * 14))
    linear = [each.weight.shape[0] for each in modules if isinstance(each, nn.Linear | nn.QuantizedLinear)]
    narrow = convolution.weight.shape[0] if convolution is not None else min(linear, default=0)
    # A merger's layers are wide for few rows.
    wide = min(max(linear, default=0), 8 * narrow)
    arrays = [array for each in encoder for _, array in tree_flatten(each.parameters())]
    size = max((array.itemsize for array in arrays if mx.issubdtype(array.dtype, mx.floating)), default=4)
    return int(patches * (8 * narrow + 2 * wide) * size + 2 * SCORE_BYTES)
