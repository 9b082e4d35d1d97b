"""Small seeded models of several families, with a tokenizer of the test's, written as published models are."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm.utils import _get_classes
from transformers import PreTrainedTokenizerFast

from tests.support.tokenizers_made import byte_level

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SHAPE = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 2048,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "qwen3": {"model_type": "qwen3"},
    "llama": {"model_type": "llama"},
    "gemma3": {
        "model_type": "gemma3_text", "sliding_window": 16, "sliding_window_pattern": 2, "query_pre_attn_scalar": 16,
        "rope_global_base_freq": 10000.0, "rope_local_base_freq": 10000.0,
    },
    "falcon_h1": {
        "model_type": "falcon_h1", "mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 16,
        "mamba_n_groups": 1, "mamba_d_conv": 4, "mamba_chunk_size": 16, "mamba_expand": 1, "attention_bias": False,
    },
}  # fmt: skip


def make_model(
    folder: Path, family: str = "qwen3", *, tokenizer: PreTrainedTokenizerFast | None = None, bits: int | None = None,
    seed: int = 0, **config: Any,
) -> Path:  # fmt: skip
    """Writes a random float32 model, quantised to `bits` if given, and returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer or byte_level()
    tokenizer.chat_template = tokenizer.chat_template or TEMPLATE
    tokenizer.save_pretrained(folder)
    vocab = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    content = {**SHAPE, **FAMILIES[family], **vocab, **config}
    model_class, arguments_class = _get_classes(content)
    mx.random.seed(seed)
    model = model_class(arguments_class.from_dict(content))
    if bits is not None:
        nn.quantize(model, group_size=32, bits=bits)
        content["quantization"] = {"group_size": 32, "bits": bits}
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(content))
    return folder
