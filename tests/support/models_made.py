"""Small seeded models of several families, with a tokenizer of the test's, written as published models are; and what
mlx-lm's own generator says with them."""

import atexit
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.generate import generate_step
from mlx_lm.utils import _get_classes, load
from transformers import PreTrainedTokenizerFast

from inference.engine.model import LoadedModel, load_model
from inference.sources import BUILTIN_FOLDER
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
MORE_FAMILIES: dict[str, dict[str, Any]] = {
    "phi3": {"model_type": "phi3", "tie_word_embeddings": False},
    "gpt_oss": {
        "model_type": "gpt_oss", "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 24,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "qwen3_moe": {
        "model_type": "qwen3_moe", "num_experts": 4, "num_experts_per_tok": 2, "decoder_sparse_step": 1,
        "mlp_only_layers": [], "moe_intermediate_size": 64, "norm_topk_prob": True,
    },
    "deepseek_v3": {
        "model_type": "deepseek_v3", "moe_intermediate_size": 64, "num_key_value_heads": 4, "n_shared_experts": 1,
        "n_routed_experts": 4, "num_experts_per_tok": 2, "first_k_dense_replace": 1, "kv_lora_rank": 32,
        "q_lora_rank": None, "qk_rope_head_dim": 16, "qk_nope_head_dim": 16, "v_head_dim": 16,
    },
    "qwen3_next": {
        "model_type": "qwen3_next", "linear_num_value_heads": 2, "linear_num_key_heads": 2, "linear_key_head_dim": 32,
        "linear_value_head_dim": 32, "linear_conv_kernel_dim": 4, "num_experts": 4, "num_experts_per_tok": 2,
        "decoder_sparse_step": 1, "shared_expert_intermediate_size": 64, "mlp_only_layers": [],
        "moe_intermediate_size": 64, "partial_rotary_factor": 0.5, "full_attention_interval": 2,
        "norm_topk_prob": True,
    },
    "lfm2": {
        "model_type": "lfm2", "norm_eps": 1e-6, "conv_bias": False, "conv_L_cache": 3, "block_dim": 64,
        "block_multiple_of": 32, "block_ffn_dim_multiplier": 1.0, "block_auto_adjust_ff_dim": False,
        "layer_types": ["conv", "full_attention"],
    },
    "mamba2": {
        "model_type": "mamba2", "num_heads": 4, "head_dim": 32, "state_size": 16, "layer_norm_epsilon": 1e-6,
        "conv_kernel": 4, "n_groups": 1, "use_bias": False, "use_conv_bias": True, "time_step_rank": 4,
        "time_step_limit": [0.0, 100.0],
    },
    "gpt_bigcode": {
        "model_type": "gpt_bigcode", "n_embd": 64, "n_layer": 2, "n_inner": 128, "n_head": 4, "n_positions": 2048,
        "layer_norm_epsilon": 1e-5,
    },
}  # fmt: skip
"""Beside those that whole engine processes are tried with: other attention, experts, states, and one whose positions
are learned, so that rows of several lengths can't share a step."""


def make_model(
    folder: Path, family: str = "qwen3", *, tokenizer: PreTrainedTokenizerFast | None = None, bits: int | None = None,
    dtype: mx.Dtype = mx.float32, seed: int = 0, **config: Any,
) -> Path:  # fmt: skip
    """Writes a random model of this dtype, quantised to `bits` if given, and returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer or byte_level()
    tokenizer.chat_template = tokenizer.chat_template or TEMPLATE
    tokenizer.save_pretrained(folder)
    vocab = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    content = {**SHAPE, **(FAMILIES | MORE_FAMILIES)[family], **vocab, **config}
    model_class, arguments_class = _get_classes(content)
    mx.random.seed(seed)
    model = model_class(arguments_class.from_dict(content))
    _enliven(model)
    model.set_dtype(dtype)
    if bits is not None:
        nn.quantize(model, group_size=32, bits=bits)
        content["quantization"] = {"group_size": 32, "bits": bits}
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def _enliven(model: nn.Module) -> None:
    """What begins alike everywhere, or forgets at once, would hide mistakes: attention sinks are zeros for every head,
    and a fresh SSM's state decays within three tokens. With this it takes dozens."""
    fresh = []
    for name, array in tree_flatten(model.parameters()):
        if name.endswith("sinks"):
            fresh.append((name, mx.random.normal(array.shape)))
        elif name.endswith("dt_bias"):
            fresh.append((name, mx.full(array.shape, -4.0)))
    model.update(tree_unflatten(fresh))


def quantised_copy(source: Path, folder: Path, bits: int) -> Path:
    """A folder with the same model, its weights quantised."""
    shutil.copytree(source, folder)
    model, _, config = load(str(source), return_config=True)
    nn.quantize(model, group_size=32, bits=bits)
    mx.save_safetensors(
        str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())), metadata={"format": "mlx"}
    )
    (folder / "config.json").write_text(json.dumps({**config, "quantization": {"group_size": 32, "bits": bits}}))
    return folder


@dataclass(frozen=True)
class Kind:
    """A kind of model as the engine tells them apart; a row of the gates' matrix.

    tolerance: the most that two ways to compute the same logits may differ, in their standard deviations. float32,
    quantised weights included, comes out below 1e-5. bfloat16 has 8 bits: the last one of a logit of 4 deviations is
    0.03, and 0.04 is what is measured; two such steps are allowed.
    """

    name: str
    family: str
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    batching: str = "batched"
    tolerance: float = 1e-4

    def __str__(self) -> str:
        return self.name


KINDS = [
    Kind("dense float32", "qwen3", {"head_dim": 32}),
    Kind("4-bit", "qwen3", {"bits": 4}),
    Kind("8-bit", "qwen3", {"bits": 8}),
    Kind("bfloat16", "qwen3", {"dtype": mx.bfloat16}, tolerance=0.065),
    Kind("llama", "llama"),
    Kind("phi3", "phi3"),
    Kind("windows (gemma3)", "gemma3"),
    Kind("windows, sinks, experts (gpt_oss)", "gpt_oss"),
    Kind("experts (qwen3_moe)", "qwen3_moe"),
    Kind("MLA (deepseek_v3)", "deepseek_v3", batching="padded"),
    Kind("SSM hybrid (falcon_h1)", "falcon_h1"),
    Kind("linear attention (qwen3_next)", "qwen3_next"),
    Kind("convolutions (lfm2)", "lfm2"),
    Kind("SSM alone (mamba2)", "mamba2"),
    Kind("one at a time (gpt_bigcode)", "gpt_bigcode", batching="single"),
]


# --- models, made once a session ------------------------------------------------------------------------------------


@cache
def session_folder() -> Path:
    """For as long as the tests run."""
    path = Path(tempfile.mkdtemp(prefix="atelier-gates-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@cache
def loaded(kind: Kind) -> LoadedModel:
    return load_model(
        str(make_model(session_folder() / kind.name.replace(" ", "-"), kind.family, **kind.options)), kind.name
    )


@cache
def trained(bits: int | None = None) -> LoadedModel:
    """atelier-tiny, or a quantised copy of it."""
    folder = BUILTIN_FOLDER / "atelier-tiny"
    if bits is not None:
        folder = quantised_copy(folder, session_folder() / f"atelier-tiny-{bits}", bits)
    return load_model(str(folder), "atelier-tiny" if bits is None else f"atelier-tiny {bits}-bit")


def words(seed: int, count: int, model: LoadedModel) -> list[int]:
    """Any tokens but those that end an answer, and the last of the vocabulary, which some tests break."""
    choice = [token for token in range(model.vocab - 1) if token not in model.end_tokens]
    return random.Random(seed).choices(choice, k=count)


# --- what mlx-lm says with them ---------------------------------------------------------------------------------------

_alone: dict[tuple[int, tuple[int, ...], tuple[int, ...]], np.ndarray] = {}
"""By the model's id: modules can't be hashed, and those here live as long as the session."""


class Listened:
    """A model whose last logits of each call are kept, for mlx-lm's generator to run."""

    def __init__(self, model: Any):
        self._model = model
        self.heard: list[mx.array] = []

    def __call__(self, tokens: mx.array, cache: Any) -> mx.array:
        logits: mx.array = self._model(tokens, cache=cache)
        self.heard.append(logits[0, -1])
        return logits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def alone(model: Any, prompt: list[int], said: list[int]) -> np.ndarray:
    """The logits, float32 [tokens said, vocab], of mlx-lm's own `generate_step` while it is made to say these."""
    key = (id(model), tuple(prompt), tuple(said))
    if key not in _alone:
        script = iter([*said, 0])
        _alone[key] = _generated(model, prompt, len(said), lambda _: mx.array([next(script)]))[1]
    return _alone[key]


def greedy(model: LoadedModel, prompt: list[int], count: int) -> tuple[list[int], np.ndarray]:
    """What mlx-lm's own `generate_step` says, without the token that ends it, and the logits, float32 [tokens, vocab],
    of all of that and the end."""
    said, logits = _generated(model.model, prompt, count, None)
    end = next((place for place, token in enumerate(said) if token in model.end_tokens), count)
    _alone[id(model.model), tuple(prompt), tuple(said[:end])] = logits[:end]
    return said[:end], logits[: end + 1]


def _generated(
    model: Any, prompt: list[int], count: int, sampler: Callable[[mx.array], mx.array] | None
) -> tuple[list[int], np.ndarray]:
    listened = Listened(model)
    steps = list(generate_step(mx.array(prompt, mx.int32), listened, max_tokens=count, sampler=sampler))
    # Its calls for the prompt come first, and it computes one step too many.
    logits = mx.stack(listened.heard[-count - 1 : -1]).astype(mx.float32)
    return [int(token) for token, _ in steps], np.array(logits)


@contextmanager
def broken_token(model: LoadedModel, token: int) -> Iterator[None]:
    """This token's embedding is NaN, and so is all that the model makes of a row that has it."""
    embeddings = [m for m in model.model.modules() if isinstance(m, nn.Embedding | nn.QuantizedEmbedding)]
    embedding = next(m for m in embeddings if m.weight.shape[0] == model.vocab)  # beside it there may be one of places
    plain = type(embedding).__call__

    def call(self: Any, tokens: mx.array) -> mx.array:
        answer = plain(self, tokens)
        return mx.where((tokens == token)[..., None], mx.nan, answer) if self is embedding else answer

    with mock.patch.object(type(embedding), "__call__", call):
        yield
