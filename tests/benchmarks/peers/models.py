"""The model folders that every contestant serves.

The seeded ones are Qwen3-shaped float32 models with random weights. What they can generate is restricted to whole
words with a space in front: the rows of all other tokens in the (tied) embedding are zero, so their logits are exactly
0, which is never the largest of thousands of random ones. Hence no answer ends early, no detokeniser holds back half a
character, every token is one chunk of text, and words count tokens. The last norm's weights have random signs: without
them a tied model repeats its last token.

A real model is served from a folder of links to its files in which only the end tokens are others, so that its answers
have the length that was asked for on every server.
"""

import json
import random
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map
from mlx_lm.models.qwen3 import Model, ModelArgs
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as tokenizer_models
from transformers import PreTrainedTokenizerFast

from tests.benchmarks.peers import BUILD
from tests.support.models_made import TEMPLATE

MODELS = BUILD / "models"
VOCABULARY = 8192
CONTEXT = 16_384
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
EDITED = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
)  # fmt: skip
"""The files of a real model that say what ends an answer."""
WORD = re.compile(r"Ġ[a-z]+")
SEED = 3
VERSION = 1
"""Part of what a cached folder must say of itself: raise it when what this file makes changes."""


@dataclass(frozen=True)
class Shape:
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int


SHAPES = {
    "small": Shape(hidden=768, layers=12, heads=12, kv_heads=4, head_dim=64, intermediate=2048),
    "tiny": Shape(hidden=128, layers=4, heads=4, kv_heads=2, head_dim=32, intermediate=384),
}


def seeded(name: str) -> Path:
    """The folder of the seeded model `small` or `tiny`, made if it is not there."""
    folder = MODELS / name
    recipe = {**asdict(SHAPES[name]), "vocabulary": VOCABULARY, "seed": SEED, "version": VERSION}
    mark = folder / "recipe.json"
    if mark.exists() and json.loads(mark.read_text())["recipe"] == recipe:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tokenizer = train_tokenizer()
    tokenizer.save_pretrained(folder)
    parameters = write_weights(folder, SHAPES[name], tokenizer)
    mark.write_text(json.dumps({"recipe": recipe, "parameters": parameters}, indent=2) + "\n")
    return folder


def parameters_of(folder: Path) -> int | None:
    """How many parameters a seeded model has; None for a real one."""
    mark = folder / "recipe.json"
    return json.loads(mark.read_text())["parameters"] if mark.exists() else None


def train_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of VOCABULARY tokens, trained on seeded text."""
    tokenizer = Tokenizer(tokenizer_models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(invented_text(), trainer)
    if tokenizer.get_vocab_size() != VOCABULARY:
        raise ValueError(f"the text is enough for {tokenizer.get_vocab_size()} tokens, not for {VOCABULARY}")
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    wrapped.chat_template = TEMPLATE
    return wrapped


def invented_text() -> list[str]:
    """Sentences of invented words, used as often as Zipf's law has it."""
    draw = random.Random(SEED)
    onsets = ["", *"bcdfghjklmnprstvwz", "br", "ch", "cl", "dr", "fl", "gr", "pl", "sh", "sl", "st", "th", "tr"]
    syllables = [
        onset + vowel + coda for onset in onsets for vowel in "aeiou" for coda in ["", "l", "n", "r", "s", "t"]
    ]
    words = list(dict.fromkeys("".join(draw.choices(syllables, k=draw.randint(1, 3))) for _ in range(20_000)))
    frequencies = [1 / rank for rank in range(1, len(words) + 1)]
    used = iter(draw.choices(words, frequencies, k=240_000) + words)
    return [" ".join(sentence).capitalize() + "." for sentence in zip(*[used] * 12, strict=False)]


def write_weights(folder: Path, shape: Shape, tokenizer: PreTrainedTokenizerFast) -> int:
    """Writes config.json and model.safetensors; returns the number of parameters."""
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "intermediate_size": shape.intermediate,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": CONTEXT,
        "rope_theta": 1_000_000.0,
        "tie_word_embeddings": True,
        "vocab_size": VOCABULARY,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "torch_dtype": "float32",
    }
    mx.random.seed(SEED)
    model = Model(ModelArgs.from_dict(config))
    model.update(tree_map(lambda weight: weight.astype(mx.float32), model.parameters()))
    allowed = [bool(WORD.fullmatch(token)) for token in tokenizer.convert_ids_to_tokens(range(VOCABULARY))]
    embedding = model.model.embed_tokens
    embedding.weight = embedding.weight * mx.array(allowed, mx.float32)[:, None]
    model.model.norm.weight = mx.where(mx.random.bernoulli(0.5, (shape.hidden,)), 1.0, -1.0)
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    return sum(weight.size for weight in weights.values())


def endless(given: str) -> Path:
    """A folder of links to a real model's files, in which a token that the model does not use ends an answer.

    given: a folder or a Hugging Face id.
    """
    source = Path(given).expanduser()
    if not source.is_dir():
        from huggingface_hub import snapshot_download

        source = Path(snapshot_download(given))
    folder = MODELS / "real" / re.sub(r"[^\w.-]+", "--", given.strip("/"))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    end = unused_token(source)
    for file in source.iterdir():
        edited = edit_end(file, *end) if file.suffix == ".json" else None
        if edited is None:
            (folder / file.name).symlink_to(file.resolve())
        else:
            (folder / file.name).write_text(json.dumps(edited, ensure_ascii=False, indent=2))
    return folder


def unused_token(source: Path) -> tuple[int, str]:
    """Id and text of the last special token that neither the chat template nor the end of an answer is made of.

    Where there is none, the last token of the vocabulary, which is a rare one in a BPE: an answer that it ends all the
    same counts as invalid.
    """
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    settings = (source / "tokenizer_config.json").read_text()
    template = source / "chat_template.jinja"
    spoken = settings_template(json.loads(settings)) + (template.read_text() if template.exists() else "")
    ends = json.loads((source / "config.json").read_text()).get("eos_token_id")
    generation = source / "generation_config.json"
    more = json.loads(generation.read_text()).get("eos_token_id") if generation.exists() else None
    taken = {*as_list(ends), *as_list(more)}
    for token in reversed(tokenizer["added_tokens"]):
        if token["special"] and token["id"] not in taken and token["content"] not in spoken:
            return token["id"], token["content"]
    text, id = max(tokenizer["model"]["vocab"].items(), key=lambda item: item[1])
    return id, text


def settings_template(settings: dict[str, Any]) -> str:
    template = settings.get("chat_template") or ""
    return template if isinstance(template, str) else json.dumps(template)


def as_list(ids: int | list[int] | None) -> list[int]:
    return [] if ids is None else [ids] if isinstance(ids, int) else ids


def edit_end(file: Path, id: int, end: str) -> dict[str, Any] | None:
    """The JSON file with this end token; None where it names none.

    No other token stays a special one: some servers, ours among them, end an answer with the special token that the
    chat template writes behind it, whatever the configuration says.
    """
    if file.name not in EDITED:
        return None
    content: dict[str, Any] = json.loads(file.read_text())
    for token in content.get("added_tokens", []):
        token["special"] = token["id"] == id
    for key, token_settings in content.get("added_tokens_decoder", {}).items():
        token_settings["special"] = int(key) == id
    for name in ("additional_special_tokens", "extra_special_tokens"):
        if isinstance(content.get(name), list):
            del content[name]
    if file.name == "config.json":
        for part in (content, content.get("text_config") or {}):
            if "eos_token_id" in part:
                part["eos_token_id"] = id
        content["eos_token_id"] = id
    elif file.name == "generation_config.json":
        content["eos_token_id"] = id
    elif file.name != "tokenizer.json":
        content["eos_token"] = end
    return content
