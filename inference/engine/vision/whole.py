"""A prompt as its model's own processor made it, for models that run one at a time: nobody looks at its parts."""

from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import numpy as np

from inference.engine.prefix.keys import Media


@dataclass(slots=True, eq=False)
class Whole:
    inputs: dict[str, Any]
    """By the processor's names for them: `input_ids` [1, tokens of the prompt], and what its pictures and sounds
    became. Arrays are NumPy's, as they cross from one thread to another."""
    media: list[Media] = field(default_factory=list)
    """Nothing of it goes to a prefix cache."""

    @property
    def length(self) -> int:
        """Tokens."""
        return int(self.inputs["input_ids"].shape[1])

    def unseen(self, start: int) -> list[Any]:
        """Its pictures are looked at with the prompt itself."""
        return []


def held(value: Any) -> Any:
    """An input without MLX's arrays, some of which lie in lists."""
    if isinstance(value, mx.array):
        return np.array(value.astype(mx.float32) if value.dtype == mx.bfloat16 else value)
    if isinstance(value, list | tuple):
        return [held(each) for each in value]
    return value


def given_back(value: Any) -> Any:
    """What `held` had, on this thread."""
    if isinstance(value, np.ndarray):
        return mx.array(value)
    if isinstance(value, list):
        return [given_back(each) for each in value]
    return value
