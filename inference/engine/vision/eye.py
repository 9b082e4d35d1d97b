"""Pictures and clips to tokens and features, by the model's own processor and encoder."""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_vlm.utils import prepare_inputs

from inference.engine.media.decoder import Clip, Sound
from inference.engine.text.template import PromptError
from inference.engine.vision import clips, parts
from inference.engine.vision.features import Features, Picture, Seen
from inference.engine.vision.prompt import Shot
from inference.engine.vision.room import KEPT_BYTES, Room, room_of
from inference.engine.vision.speaker import Speaker
from inference.engine.vision.wording import Wording

BREATH_SECONDS = 0.05
"""Between two breaths, unless told otherwise."""
Inputs = dict[str, Any]
"""What a processor makes of text, pictures and clips: arrays by name."""

log = logging.getLogger(__name__)


class Eye:
    """`read` is for the intake threads, `look` for the step thread."""

    modalities = ["text", "image", "video"]
    """What conversations may be made of."""
    hears = False
    rate = 0
    """Of sounds, in hertz."""

    def __init__(self, speaker: Speaker, processor: Any, tokenizer: Any, config: Any):
        self._speaker = speaker
        self.processor = processor
        self.token = int(getattr(config, "image_token_index", None) or config.image_token_id)
        video = getattr(config, "video_token_index", None) or getattr(config, "video_token_id", None)
        self._tokens = [self.token] if video is None else [self.token, int(video)]
        """That stand for pictures and clips in prompts."""
        self.wording = Wording(processor, tokenizer, str(config.model_type))
        self._kept: OrderedDict[tuple[str, bytes], Features] = OrderedDict()
        self._kept_bytes = 0
        self.looked = 0
        """Pictures that went through the encoder; and those whose features were still known."""
        self.remembered = 0
        self._levels = len(getattr(getattr(config, "vision_config", None), "deepstack_visual_indexes", None) or ())
        self.pace = parts.Pace(BREATH_SECONDS)
        self.encoder = [module for name, module in speaker.model.children().items() if name != "language_model"]
        for module in self.encoder:
            parts.prepare(module)
        self.sees_clips = video is not None and self._sees_clips()
        """The model has a word for clips of its own; others are shown the frames as pictures."""

    # --- prompts -----------------------------------------------------------------------------------------------------

    def choice(self, fps: float | None, max_frames: int | None) -> clips.Choice:
        """Which frames of a clip are wanted, where the request says so much."""
        return clips.choice(self.processor, native=self.sees_clips, fps=fps, max_frames=max_frames)

    def alone(self, shot: Shot) -> Inputs:
        """What the processor makes of a picture or clip by itself. Raises what processors raise."""
        return self._processed(self.wording.alone("video" if isinstance(shot, Clip) else "image"), [shot])

    def read(self, text: str, shots: Sequence[Shot], alone: Sequence[Inputs]) -> tuple[list[int], Seen]:
        """The prompt's tokens, and where its pictures and clips are among them. alone: what `alone` has made of each.
        Raises PromptError."""
        prompt = self._processed(text, shots)
        tokens: list[int] = prompt["input_ids"][0].tolist()
        places = self._places(prompt)
        found: list[Picture] = []
        first = 0
        for shot, inputs in zip(shots, alone, strict=True):
            last = first + len(self._places(inputs))
            found.append(Picture(_digest(shot), first, last, inputs))
            first = last
        if first != len(places) or not all(each.first < each.last for each in found):
            raise PromptError("This model's processor can't tell the pictures of this prompt apart.", "messages")
        positions, shift = self._positions(prompt)
        return tokens, Seen(found, places, positions, shift)

    def _processed(self, text: str, shots: Sequence[Shot]) -> Inputs:
        pictures = [shot for shot in shots if not isinstance(shot, Clip)]
        films = [shot for shot in shots if isinstance(shot, Clip)]
        more: dict[str, Any] = {}
        if films:
            more = {"videos": [*map(clips.pixels, films)], "video_metadata": [*map(clips.facts, films)]}
        try:
            inputs = prepare_inputs(self.processor, images=pictures or None, prompts=text, **more)
        except ValueError as error:  # that is what mlx-vlm makes of whatever a processor raises
            log.warning("a model's processor refused a prompt: %s", type(error).__name__)
            raise PromptError("This model's processor can't read a prompt with these pictures.", "messages") from error
        found = {name: np.array(value) for name, value in inputs.items() if value is not None}
        # Some hand back the text as well.
        return {name: value for name, value in found.items() if value.dtype.kind in "biuf"}

    def tokens_of(self, inputs: Inputs) -> int:
        """That stand for what these inputs show."""
        return len(self._places(inputs))

    @cached_property
    def room(self) -> Room:
        """What looking takes of memory. First asked by the step thread, before anybody else."""
        embedded = self._speaker.embed(mx.zeros((1, 1), mx.int32))
        return room_of(self, token=int(embedded.nbytes) * (1 + self._levels))

    def _places(self, prompt: Inputs) -> Any:
        """int32 [seen]."""
        return np.flatnonzero(np.isin(prompt["input_ids"][0], self._tokens)).astype(np.int32)

    def _positions(self, prompt: Inputs) -> tuple[Any, int]:
        if not self._speaker.axes:
            return None, 0
        grids = [mx.array(prompt[name]) if name in prompt else None for name in ("image_grid_thw", "video_grid_thw")]
        ids = mx.array(prompt["input_ids"])
        positions, shift = self._speaker.language.get_rope_index(ids, *grids, mx.ones_like(ids))
        return np.array(positions, np.int32)[:, 0], int(shift.item())

    def _sees_clips(self) -> bool:
        """Whether the template, the processor and the model really do what the configuration has a token for."""
        if "video" not in self.wording.kinds:
            return False
        try:
            inputs = self.alone(clips.trial())
            places = self._places(inputs)
            plain = self._speaker.embed(mx.array(inputs["input_ids"]))[0][mx.array(places)]
            changed = (self._encoded(inputs).rows != plain).any(axis=-1).all()
            return bool(places.size and changed.item())
        except Exception as error:  # whatever comes of it, there is another way
            log.info("clips are shown as pictures to this model: %s", type(error).__name__)
            return False

    # --- features ----------------------------------------------------------------------------------------------------

    def look(self, picture: Picture, salt: str, breathe: Callable[[], None] | None = None) -> None:
        """Fills in its features. breathe: called between the encoder's parts, so that others need not wait for all of
        it. What another salt has looked at is looked at again: how fast that goes would tell."""
        key = (salt, picture.digest)
        if (known := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            self.remembered += 1
            picture.features, picture.inputs = known, {}
            return
        with parts.looking(self.pace, breathe):
            features = self._encoded(picture.inputs)
            mx.eval(features.rows, features.deep)
        self.looked += 1
        picture.features, picture.inputs = features, {}
        self._kept[key] = features
        self._kept_bytes += features.nbytes
        while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
            self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes

    def counters(self) -> dict[str, int]:
        """As `protocol.Stats` has them. From any thread."""
        return {"encoded": self.looked, "remembered": self.remembered, "bytes": self._kept_bytes}

    def _encoded(self, inputs: Inputs) -> Features:
        """Of the one picture or clip that these inputs are for."""
        given = {name: mx.array(value) for name, value in inputs.items()}
        made = self._speaker.model.get_input_embeddings(
            given.pop("input_ids"), given.pop("pixel_values", None), mask=given.pop("attention_mask", None), **given
        )
        levels = made.deepstack_visual_embeds
        rows = made.inputs_embeds[0][mx.array(self._places(inputs))]
        return Features(rows, tuple(levels) if levels is not None else ())


def _digest(shot: Shot) -> bytes:
    if isinstance(shot, Clip):
        return clips.digest(shot)
    assert not isinstance(shot, Sound)
    mark = hashlib.sha256(f"{shot.size}".encode())
    mark.update(shot.tobytes())
    return mark.digest()
