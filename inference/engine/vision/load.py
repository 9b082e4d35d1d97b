"""Loading a model that sees: weights and processor by mlx-vlm."""

import copy
import logging
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx_lm.tokenizer_utils import TokenizerWrapper
from mlx_vlm.utils import get_model_path, load, load_config

from inference.engine.vision import speaker
from inference.engine.vision.eye import Eye
from inference.engine.vision.processor import mend
from inference.engine.vision.solo import SoloSpeaker
from inference.engine.vision.solo_eye import SoloEye
from inference.engine.vision.speaker import Speaker

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sight:
    """The two ways to run a model that sees: in the batch, and as mlx-vlm runs it, one row at a time."""

    solo: tuple[SoloSpeaker, SoloEye]
    batched: tuple[Speaker, Eye] | None
    reason: str = ""
    """Why there is only one way, for people."""


def load_vision(source: str) -> tuple[Sight, Any, dict[str, Any]]:
    """Model, tokenizer (mlx-lm's wrapper) and configuration. Raises whatever a foreign model's files make the loaders
    raise."""
    model, processor = load(source)
    mend(processor)
    config = load_config(get_model_path(source))
    tokenizer = _tokenizer(processor, _end_tokens(config))
    speaker.install()
    solo = SoloSpeaker(model), SoloEye(model, processor, tokenizer)
    if solo[1].hears:
        return Sight(solo, None, "it hears, and sounds are not read in a batch"), tokenizer, config
    try:
        speaks = Speaker(model)
        mx.eval(speaks(mx.array([[0]], mx.int32)))
        batched = speaks, Eye(speaks, processor, tokenizer, model.config)
    except Exception as error:  # whatever it lacks of what the batch asks of its family
        return (
            Sight(solo, None, f"its family is not known to the batch: {type(error).__name__}: {error}"),
            tokenizer,
            config,
        )
    return Sight(solo, batched), tokenizer, config


def _tokenizer(processor: Any, ends: list[int]) -> TokenizerWrapper:
    # One of its own: intake tokenises plain prompts while the processor, in another thread, pads with its own.
    plain = copy.deepcopy(getattr(processor, "tokenizer", processor))
    if not getattr(plain, "chat_template", None) and getattr(processor, "chat_template", None):
        # Older repositories keep the template beside the processor.
        plain.chat_template = processor.chat_template
    return TokenizerWrapper(plain, eos_token_ids=ends or None)


def _end_tokens(config: dict[str, Any]) -> list[int]:
    for part in (config, config.get("text_config") or {}):
        found = part.get("eos_token_id")
        if found is not None:
            return list(found) if isinstance(found, list) else [int(found)]
    return []
