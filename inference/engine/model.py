"""Loading a language model: weights by mlx-lm, and what the engine has to know about it."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
from huggingface_hub.errors import HFValidationError
from mlx_lm.utils import load

from inference.engine.guidance.grammars import Grammars
from inference.engine.protocol import ModelKind, Traits
from inference.engine.text.markup import AUTO, THOUGHTS, Markup, UnknownParser, markup_of
from inference.engine.text.speech import PLAIN
from inference.engine.text.template import encode_text, end_of_turn_tokens, render_chat
from inference.engine.traits import positions, traits_of

FALLBACK_CONTEXT = 4096
"""For the rare model whose configuration names no context length."""


if TYPE_CHECKING:
    from inference.engine.vision.eye import Eye
    from inference.engine.vision.load import Sight
    from inference.engine.vision.solo_eye import SoloEye


class ModelError(Exception):
    """The model can't be loaded; the message says what to do about it."""


@dataclass(slots=True)
class LoadedModel:
    name: str
    model: Any
    tokenizer: Any
    """mlx-lm's wrapper around the transformers tokenizer."""
    vocab: int
    """The width of the logits; token ids at or above it don't exist."""
    context_length: int
    end_tokens: frozenset[int]
    defaults: dict[str, float]
    """Sampling settings that its publishers recommend, by our names for them."""
    fingerprint: str
    """Changes when its files do: what was computed with other weights is worth nothing."""
    markup: Markup = PLAIN
    """How it marks thoughts and calls of tools."""
    traits: Traits = field(default_factory=Traits)
    sight: "Sight | None" = None
    """Of a model that sees. `model` and `eye` are one of the two ways in it."""
    eye: "Eye | SoloEye | None" = field(init=False, default=None)
    """What reads its pictures."""
    grammars: Grammars = field(init=False)

    def __post_init__(self) -> None:
        self.grammars = Grammars(self.tokenizer, self.vocab, self.end_tokens)
        self.run(batched=True)

    def run(self, *, batched: bool) -> None:
        """How it is run from now on, if it sees: in the batch, where it can be, or as mlx-vlm runs it."""
        if self.sight is not None:
            self.model, self.eye = (self.sight.batched if batched else None) or self.sight.solo

    @property
    def modalities(self) -> list[str]:
        """What prompts may be made of."""
        return ["text"] if self.eye is None else self.eye.modalities

    def bytes_of(self, token: int) -> bytes:
        """A token may be a part of a character."""
        return self.grammars.bytes_of(token)

    @property
    def has_chat_template(self) -> bool:
        return bool(self.tokenizer.has_chat_template)

    def render(self, messages: list[dict[str, Any]], options: dict[str, Any]) -> str:
        """The conversation as the model reads it. Raises PromptError."""
        if self.eye is not None:
            return self.eye.wording.render(messages, options)
        return render_chat(self.tokenizer, messages, options)

    def encode(self, rendered: str) -> list[int]:
        """The tokens of a conversation without pictures. Raises PromptError."""
        if self.eye is not None:
            return self.eye.wording.encode(rendered)
        # The template has written the beginning-of-text token itself.
        return encode_text(self.tokenizer, rendered, special=False)


def load_model(
    source: str, name: str, *, kind: ModelKind = "text", tool_parser: str = AUTO, reasoning_parser: str = AUTO
) -> LoadedModel:
    """Loads a folder or a Hugging Face id, quantised or not. The parsers are those of `markup_of`. Raises ModelError.

    To be called by the thread that will run the model: MLX ties a lazy array to the thread that made it.
    """
    folder = Path(source).expanduser()
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ModelError(f"{source}: no config.json in this folder, so it holds no model.")
    if reason := own_code(folder):
        raise ModelError(f"{source} can't be loaded: {reason}.")
    place = str(folder) if folder.is_dir() else source
    sight = None
    try:
        if kind == "vision":
            # Seconds of imports, for these models only.
            from inference.engine.vision.load import load_vision

            sight, tokenizer, config = load_vision(place)
            model: Any = (sight.batched or sight.solo)[0]
        else:
            model, tokenizer, config = load(place, return_config=True)
    except HFValidationError as error:
        raise ModelError(f"{source}: no such folder, and not a Hugging Face id either.") from error
    except FileNotFoundError as error:
        raise ModelError(f"{source}: {error}") from error
    except Exception as error:  # whatever a foreign model's files make its loaders raise
        raise ModelError(f"{source} can't be loaded: {type(error).__name__}: {error}") from error
    try:
        markup = markup_of(tokenizer, tool_parser=tool_parser, reasoning_parser=reasoning_parser)
    except UnknownParser as error:
        raise ModelError(f"{source}: {error}.") from error
    # One token through the model: compiles what the first request would wait for, and shows the logits' width.
    logits = model(mx.array([[0]], mx.int32))
    mx.eval(logits)
    return LoadedModel(
        name=name,
        model=model,
        tokenizer=tokenizer,
        vocab=logits.shape[-1],
        context_length=context_length(config),
        end_tokens=end_of_turn_tokens(
            tokenizer, set(tokenizer.eos_token_ids), sight.solo[1].wording.told if sight else list
        ),
        defaults=_sampling_defaults(tokenizer.name_or_path),
        fingerprint=_fingerprint(Path(tokenizer.name_or_path)),
        markup=markup,
        sight=sight,
        traits=traits_of(
            config,
            tools=markup.tools.name if markup.tools else None,
            reasoning=next((name for name, marks in THOUGHTS.items() if marks == markup.thought), None),
        ),
    )


def own_code(folder: Path) -> str:
    """Why a folder is not loaded whose configuration asks for a program of its own; mlx-vlm would run it unasked.
    Empty where it asks for none."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return ""
    program = config.get("model_file") if isinstance(config, dict) else None
    return f"it brings a program of its own ({str(program)[:100]}), which is not run" if program else ""


def context_length(config: dict[str, Any]) -> int:
    """The longest prompt and answer together, in tokens."""
    return positions(config) or FALLBACK_CONTEXT


def _fingerprint(folder: Path) -> str:
    """Of names, sizes and times of the weights and of the configuration's content. Reading gigabytes would be surer
    and slower; a cached download's name is its content's hash anyway."""
    mark = hashlib.sha256()
    for file in sorted([*folder.glob("*.safetensors"), folder / "config.json"]):
        if file.is_file():
            real = file.resolve()
            stat = real.stat()
            mark.update(f"{file.name} {real.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return mark.hexdigest()


def _sampling_defaults(folder: str) -> dict[str, float]:
    """What the model's generation_config.json recommends; `do_sample: false` means greedy.

    A file that can't be read recommends nothing.
    """
    try:
        config = json.loads((Path(folder) / "generation_config.json").read_text())
    except (OSError, ValueError):
        return {}
    if config.get("do_sample") is False:
        return {"temperature": 0.0}
    known = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
    return {name: config[name] for name in known if type(config.get(name)) in (int, float)}
