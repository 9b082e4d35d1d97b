"""Pictures to tokens and features, by the model's own processor and encoder."""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_vlm.utils import prepare_inputs
from PIL import Image

from inference.engine.text.template import PromptError
from inference.engine.vision.features import Features, Picture, Seen
from inference.engine.vision.speaker import Speaker, blocks
from inference.engine.vision.wording import Wording

KEPT_BYTES = 256 << 20
"""Of features that no running request needs, for when their picture comes again."""
TOWERS = ("vision_tower", "vision_model", "visual", "vision_encoder", "vision")

log = logging.getLogger(__name__)


class Eye:
    """`read` is for the intake threads, `look` for the step thread."""

    def __init__(self, speaker: Speaker, processor: Any, tokenizer: Any, config: Any):
        self._speaker = speaker
        self.processor = processor
        self.token = int(getattr(config, "image_token_index", None) or config.image_token_id)
        self.wording = Wording(processor, tokenizer, str(config.model_type))
        self._marked = self.wording.alone("image")
        self._kept: OrderedDict[tuple[str, bytes], Features] = OrderedDict()
        self.looked = 0
        """Pictures that went through the encoder; and those whose features were still known."""
        self.remembered = 0
        self._breath: Callable[[], None] | None = None
        for name in TOWERS:
            for block in blocks(getattr(speaker.model, name, None)):
                self._slow_down(block)

    # --- prompts -----------------------------------------------------------------------------------------------------

    def read(self, text: str, pictures: Sequence[Image.Image]) -> tuple[list[int], Seen]:
        """The prompt's tokens, and where its pictures are among them. Raises PromptError."""
        prompt = self._processed(text, pictures)
        tokens: list[int] = prompt["input_ids"][0].tolist()
        places = np.flatnonzero(prompt["input_ids"][0] == self.token).astype(np.int32)
        found: list[Picture] = []
        first = 0
        for picture in pictures:
            inputs = self._processed(self._marked, [picture])
            count = int((inputs["input_ids"][0] == self.token).sum())
            found.append(Picture(_digest(picture), first, first + count, inputs))
            first += count
        if first != len(places) or not all(each.first < each.last for each in found):
            raise PromptError("This model's processor can't tell the pictures of this prompt apart.", "messages")
        positions, shift = self._positions(prompt)
        return tokens, Seen(found, places, positions, shift)

    def _processed(self, text: str, pictures: Sequence[Image.Image]) -> dict[str, Any]:
        try:
            inputs = prepare_inputs(self.processor, images=list(pictures), prompts=[text])
        except ValueError as error:  # that is what mlx-vlm makes of whatever a processor raises
            log.warning("a model's processor refused a prompt: %s", type(error).__name__)
            raise PromptError("This model's processor can't read a prompt with these pictures.", "messages") from error
        return {name: np.array(value) for name, value in inputs.items() if value is not None}

    def _positions(self, prompt: dict[str, Any]) -> tuple[Any, int]:
        if not self._speaker.axes:
            return None, 0
        grid = mx.array(prompt["image_grid_thw"])
        ids = mx.array(prompt["input_ids"])
        positions, shift = self._speaker.language.get_rope_index(ids, grid, None, mx.ones_like(ids))
        return np.array(positions, np.int32)[:, 0], int(shift.item())

    # --- features ----------------------------------------------------------------------------------------------------

    def look(self, picture: Picture, salt: str, breathe: Callable[[], None] | None = None) -> None:
        """Fills in its features. breathe: called between the encoder's layers, so that others need not wait for all of
        it. What another salt has looked at is looked at again: how fast that goes would tell."""
        key = (salt, picture.digest)
        if (known := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            self.remembered += 1
            picture.features, picture.inputs = known, {}
            return
        inputs = {name: mx.array(value) for name, value in picture.inputs.items()}
        ids = inputs.pop("input_ids")
        with self._breathing(breathe):
            made = self._speaker.model.get_input_embeddings(
                ids, inputs.pop("pixel_values"), mask=inputs.pop("attention_mask", None), **inputs
            )
            places = mx.array(np.flatnonzero(np.array(ids[0]) == self.token).astype(np.int32))
            levels = made.deepstack_visual_embeds
            features = Features(made.inputs_embeds[0][places], tuple(levels) if levels is not None else ())
            mx.eval(features.rows, features.deep)
        self.looked += 1
        picture.features, picture.inputs = features, {}
        self._kept[key] = features
        while sum(each.nbytes for each in self._kept.values()) > KEPT_BYTES and len(self._kept) > 1:
            self._kept.popitem(last=False)

    @contextmanager
    def _breathing(self, breathe: Callable[[], None] | None) -> Iterator[None]:
        self._breath = breathe
        try:
            yield
        finally:
            self._breath = None

    def _slow_down(self, block: nn.Module) -> None:
        """Gives this layer a class of its own, which computes its output at once where somebody wants to breathe."""
        kind = type(block)
        plain, eye = kind.__call__, self

        def call(layer: Any, *args: Any, **more: Any) -> Any:
            answer = plain(layer, *args, **more)
            if eye._breath is not None:
                mx.eval(answer)
                eye._breath()
            return answer

        block.__class__ = type(kind.__name__, (kind,), {"__call__": call})


def _digest(picture: Image.Image) -> bytes:
    mark = hashlib.sha256(f"{picture.size}".encode())
    mark.update(picture.tobytes())
    return mark.digest()
