"""The model's shape, and the files that make a folder loadable by `mlx_lm.load`."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.models.qwen3 import Model, ModelArgs
from transformers import PreTrainedTokenizerFast

from .tokenizer import END_OF_TEXT, TURN_END, VOCABULARY

CONTEXT = 8192
# An even number of heads, so that two machines can share them.
SHAPE: dict[str, Any] = {
    "model_type": "qwen3",
    "hidden_size": 160,
    "num_hidden_layers": 4,
    "intermediate_size": 480,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "head_dim": 32,
    "rms_norm_eps": 1e-6,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": CONTEXT,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
}


def new_model(seed: int) -> Model:
    mx.random.seed(seed)
    model = Model(ModelArgs.from_dict(SHAPE))
    mx.eval(model.parameters())
    return model


def parameter_count(model: Model) -> int:
    return sum(array.size for _, array in tree_flatten(model.parameters()))


def save_model(folder: Path, model: Model, tokenizer: PreTrainedTokenizerFast) -> None:
    """Writes config, generation config, float32 weights, tokenizer and chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    turn_end, text_end = tokenizer.convert_tokens_to_ids([TURN_END, END_OF_TEXT])
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        **SHAPE,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "dtype": "float32",
        "bos_token_id": None,
        "eos_token_id": turn_end,
        "pad_token_id": text_end,
    }
    ends = {"eos_token_id": [turn_end, text_end], "pad_token_id": text_end, "do_sample": False, "max_new_tokens": 1024}
    tokenizer.save_pretrained(folder)
    for name, content in (("config.json", config), ("generation_config.json", ends)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    mx.save_safetensors(
        str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())), metadata={"format": "mlx"}
    )
