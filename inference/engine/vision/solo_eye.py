"""Prompts with pictures and sounds for a model that runs one row at a time: what its own processor makes of them."""

import inspect
import logging
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from mlx_vlm.utils import prepare_inputs
from PIL import Image

from inference.engine.media.decoder import Sound
from inference.engine.text.template import PromptError
from inference.engine.vision import clips
from inference.engine.vision.prompt import Shot
from inference.engine.vision.whole import Whole, held
from inference.engine.vision.wording import Wording

log = logging.getLogger(__name__)

SAMPLE_RATE = 16_000
"""Hertz, for models whose processor names none."""
HEARING = ("audio", "apm", "sound")
"""Parts of the names of modules that hear."""


class SoloEye:
    """For the intake threads; what it makes goes to `SoloSpeaker`."""

    sees_clips = False
    """A clip's frames are shown as pictures."""

    def __init__(self, model: Any, processor: Any, tokenizer: Any):
        self.processor = processor
        self.wording = Wording(processor, tokenizer, str(model.config.model_type))
        self._image_token = getattr(model.config, "image_token_index", None)
        self._hears_many = bool(getattr(processor, "supports_multiple_audio", False))
        taken = inspect.signature(getattr(processor, "process", processor.__call__)).parameters
        names = {part for path, _ in model.named_modules() for part in path.split(".")}
        has_ears = any(word in name for name in names for word in HEARING)
        self.hears = has_ears and bool({"audio", "audios"} & set(taken))
        self.rate = int(getattr(getattr(processor, "feature_extractor", None), "sampling_rate", SAMPLE_RATE))
        """Of the sounds that `read` wants, in hertz."""
        # Processors and their tokenizers change how they pad from call to call.
        self._turn = threading.Lock()

    @property
    def modalities(self) -> list[str]:
        """What conversations may be made of."""
        return ["text", "image", "video", *(["audio"] if self.hears else [])]

    def choice(self, fps: float | None, max_frames: int | None) -> clips.Choice:
        """As `Eye.choice`."""
        return clips.choice(self.processor, native=False, fps=fps, max_frames=max_frames)

    def alone(self, shot: Shot) -> dict[str, Any]:
        """Nothing is looked at by itself here."""
        return {}

    def read(self, text: str, shots: Sequence[Shot], alone: Sequence[Any] = ()) -> tuple[list[int], Whole]:
        """The prompt's tokens, for whoever counts them, and what the model is given. Raises PromptError."""
        pictures = [shot for shot in shots if isinstance(shot, Image.Image)]
        sounds = [shot.samples for shot in shots if isinstance(shot, Sound)]
        if len(sounds) > 1 and not self._hears_many:
            raise PromptError("This model hears one sound in a conversation, and no more.", "messages")
        try:
            with self._turn:
                made = prepare_inputs(
                    self.processor,
                    images=pictures or None,
                    audio=sounds or None,
                    prompts=text,
                    image_token_index=self._image_token,
                    add_special_tokens=self.wording.special,
                )
                inputs = {name: held(value) for name, value in made.items() if value is not None}
        except Exception as error:  # whatever a foreign processor raises when it can't count its pictures, and so on
            log.warning("a model's processor refused a prompt: %s", type(error).__name__)
            raise PromptError(
                "This model's processor can't read a prompt with these pictures or sounds.", "messages"
            ) from error
        if len(inputs["input_ids"]) > 1:
            # Those that know no more make a prompt of its own for every picture.
            raise PromptError("This model reads one picture in a conversation, and no more.", "messages")
        # Some processors write a picture's tokens as numbers below 0, which are no tokens anywhere else.
        return np.maximum(inputs["input_ids"][0], 0).tolist(), Whole(inputs)
