"""What the tiny models of all families have in common: seeded weights by mlx-vlm's own classes, a tokenizer, and the
files that make `mlx_vlm.load` find all of it."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map
from mlx_vlm.utils import get_model_and_args, load_config, update_module_configs
from transformers import PreTrainedTokenizerFast

from tests.support.tokenizers_made import byte_level

TEXT = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}
"""Of the language model, in most families' words."""

TOWER = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 96, "num_attention_heads": 2}
"""Of the picture encoder."""

MODULES = ["text", "vision", "perceiver", "projector", "audio"]
"""Parts with a configuration of their own, as in `mlx_vlm.utils.load_model`."""


def turns(image: str) -> str:
    """A chat template with turns as `tokenizers_made` ends them, and with these words for a picture."""
    return (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n"
        "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
        "{% if part.type == 'image' %}" + image + "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def tokenizer(*special: str, template: str | None, **named: str) -> PreTrainedTokenizerFast:
    """named: special tokens that the family's processor asks its tokenizer for by name."""
    made = byte_level()
    made.pad_token = "<|endoftext|>"
    made.add_special_tokens({"extra_special_tokens": [*special, *named.values()]})
    for name, token in named.items():
        made._set_model_specific_special_tokens({name: token})
    made.chat_template = template
    return made


def write(
    folder: Path,
    tokenizer: PreTrainedTokenizerFast,
    config: dict[str, Any],
    *,
    seed: int = 0,
    **files: dict[str, Any],
) -> Path:
    """A model's folder. files: others beside config.json, by their name less the .json."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    for name, content in {**files, "config": {"eos_token_id": tokenizer.eos_token_id, **config}}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    weights = dict(tree_flatten(_seeded(folder, seed).parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    return folder


def _seeded(folder: Path, seed: int) -> nn.Module:
    """As `mlx_vlm.utils.load_model` builds it."""
    config = load_config(folder)
    family, _ = get_model_and_args(config)
    model_config = update_module_configs(family.ModelConfig.from_dict(config), family, config, MODULES)
    mx.random.seed(seed)
    model: nn.Module = family.Model(model_config)
    model.update(tree_map(_enlivened, model.parameters()))
    return model


def _enlivened(array: mx.array) -> mx.array:
    """What begins alike everywhere would hide mistakes, or leave nothing but rounding of what goes through it."""
    if array.size == 1 or mx.any(array != array.flatten()[0]).item():
        return array
    noise = mx.random.normal(array.shape, array.dtype)
    return noise / array.shape[-1] ** 0.5 if array.ndim > 1 else array + 0.1 * noise
