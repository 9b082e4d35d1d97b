"""Loading a model that sees: weights and processor by mlx-vlm."""

from typing import Any

from mlx_lm.tokenizer_utils import TokenizerWrapper
from mlx_vlm.utils import get_model_path, load, load_config

from inference.engine.vision import speaker
from inference.engine.vision.eye import Eye
from inference.engine.vision.processor import mend
from inference.engine.vision.speaker import Speaker


def load_vision(source: str) -> tuple[Speaker, Any, dict[str, Any], Eye]:
    """Model, tokenizer (mlx-lm's wrapper), configuration, and what reads pictures. Raises whatever a foreign model's
    files make the loaders raise."""
    model, processor = load(source)
    mend(processor)
    config = load_config(get_model_path(source))
    ends = _end_tokens(config)
    tokenizer = TokenizerWrapper(processor.tokenizer, eos_token_ids=ends or None)
    if not tokenizer.has_chat_template and getattr(processor, "chat_template", None):
        tokenizer = _with_template(processor, ends)
    speaker.install()
    speaks = Speaker(model)
    return speaks, tokenizer, config, Eye(speaks, processor, tokenizer, model.config)


def _with_template(processor: Any, ends: list[int]) -> TokenizerWrapper:
    """Older repositories keep the template beside the processor."""
    processor.tokenizer.chat_template = processor.chat_template
    return TokenizerWrapper(processor.tokenizer, eos_token_ids=ends or None)


def _end_tokens(config: dict[str, Any]) -> list[int]:
    for part in (config, config.get("text_config") or {}):
        found = part.get("eos_token_id")
        if found is not None:
            return list(found) if isinstance(found, list) else [int(found)]
    return []
