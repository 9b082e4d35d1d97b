"""Phi-3 Vision: pictures in tiles, numbered marks, and tokens below 0 in their place.

mlx-vlm writes the size of its encoder, CLIP's large one, into the code: 300 million numbers. `small` makes it a small
one in this process, so that the rest of the model can be tried; an engine in a process of its own can't have it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from mlx_vlm.models.phi3_v.vision import VisionModel

from tests.support.families import made

CONSTANT = "CLIP_VIT_LARGE_PATCH14_336_CONFIG"
MARKS = [f"<|image_{number}|>" for number in range(1, 10)]


@contextmanager
def small() -> Iterator[None]:
    """Models are made and loaded with a small encoder meanwhile. Its width can't be another."""
    large = getattr(VisionModel, CONSTANT)
    little = SimpleNamespace(**{**vars(large), "num_hidden_layers": 1, "intermediate_size": 64})
    with mock.patch.object(VisionModel, CONSTANT, little):
        yield


def make(folder: Path) -> Path:
    tokenizer = made.tokenizer(*MARKS, template=made.turns(""))
    config = {
        **made.TEXT,
        "model_type": "phi3_v",
        "num_key_value_heads": 4,
        "vocab_size": len(tokenizer),
        "text_config": {},
        "vision_config": {"model_type": "phi3_v"},
    }
    processor = {"processor_class": "Phi3VProcessor", "num_crops": 1, "num_img_tokens": 144}
    with small():
        return made.write(folder, tokenizer, config, preprocessor_config=processor)
