"""What a model writes that is not plain text: how it marks its thoughts and its calls of tools.

The parsers of calls are mlx-vlm's and mlx-lm's; which of them a model needs is told from its chat template.
"""

import importlib
import json
import logging
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

log = logging.getLogger(__name__)

THOUGHTS: dict[str, tuple[str, str]] = {
    "think": ("<think>", "</think>"),
    "harmony": ("<|channel|>analysis<|message|>", "<|end|>"),
    "gemma4": ("<|channel>thought", "<channel|>"),
    "magistral": ("[THINK]", "[/THINK]"),
    "cohere": ("<|START_THINKING|>", "<|END_THINKING|>"),
    "seed_oss": ("<seed:think>", "</seed:think>"),
    "minimax_m3": ("<mm:think>", "</mm:think>"),
    "longcat": ("<longcat_think>", "</longcat_think>"),
    "laguna": ("<|think:start|>", "<|think:end|>"),
    "kimi_k3": ("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
}
"""What encloses a thought, by the name of the reasoning parser."""

FRAMES: dict[str, tuple[str, ...]] = {
    "harmony": ("<|start|>assistant", "<|channel|>final<|message|>", "<|channel|>commentary<|message|>", "<|end|>"),
    "kimi_k3": ("<|open|>response<|sep|>", "<|close|>response<|sep|>", "<|close|>message<|sep|>"),
    "cohere": ("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
}
"""What the same formats put around plain text."""

CLOSINGS = {
    "harmony": "<|end|><|start|>assistant<|channel|>final<|message|>",
    "kimi_k3": "<|close|>think<|sep|><|open|>response<|sep|>",
}
"""How a thought ends and the answer begins, where that is more than the end's mark."""

MORE_STARTS: dict[str, tuple[str, ...]] = {"harmony": ("<|start|>assistant to=",)}
"""Other ways in which a call begins."""

PREFERRED = "mlx_vlm.tools.parsers"
OTHERS = "mlx_lm.tool_parsers"
LM_KNOWS_BETTER = {"mistral"}
"""mlx-lm's reads several calls, in both of the format's spellings."""
AUTO, NONE = "auto", "none"


class UnknownParser(ValueError):
    """No parser has this name; the message lists those there are."""


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """How calls are written: from one of `starts` to `end`, and what `parse` makes of all between. An empty end: to
    the end of the answer."""

    name: str
    starts: tuple[str, ...]
    end: str
    parse: Callable[[str, Any], Any]
    """(body, the request's tools) -> {"name", "arguments"} or a list of such. Raises all sorts for what is none."""
    module: Any = None
    """mlx-vlm's, where its incremental reading of arguments knows the format."""


@dataclass(frozen=True, slots=True)
class Markup:
    """thought: what begins and ends a thought. frames: marks that are dropped wherever they stand."""

    thought: tuple[str, str] | None = None
    tools: ToolFormat | None = None
    frames: tuple[str, ...] = ()
    closing: str = ""
    """What the engine writes to end a thought in the model's place."""
    specials: dict[int, str] = field(default_factory=dict)
    """The tokenizer's special tokens, which are no text."""
    literal: frozenset[int] = frozenset()
    """Those of them that marks consist of."""


def markup_of(tokenizer: Any, *, tool_parser: str = AUTO, reasoning_parser: str = AUTO) -> Markup:
    """A model's, from its chat template and vocabulary, unless parsers are named. Raises UnknownParser."""
    template = _template(tokenizer)
    name = _reasoning_name(tokenizer, template) if reasoning_parser == AUTO else reasoning_parser
    if name not in (NONE, *THOUGHTS):
        raise UnknownParser(f"there is no reasoning parser {name!r}; there are {', '.join(sorted(THOUGHTS))}")
    calls = _tool_name(tokenizer, template) if tool_parser == AUTO else tool_parser
    thought, tools, frames = THOUGHTS.get(name), None if calls == NONE else tool_format(calls), FRAMES.get(name, ())
    marks = " ".join((*(thought or ()), *((*tools.starts, tools.end) if tools else ()), *frames))
    specials = {id: token.content for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    literal = frozenset(id for id, content in specials.items() if content in marks)
    closing = CLOSINGS.get(name) or (f"\n{thought[1]}\n\n" if thought else "")
    return Markup(thought, tools, frames, closing, specials, literal)


def _plain_calls(body: str, tools: Any) -> Any:
    """One call, or a list of them."""
    return json.loads(body)


JSON_CALLS = ToolFormat("json", (), "", _plain_calls)
"""Calls without marks: what an answer is that a grammar made to be nothing else."""


def tool_format(name: str) -> ToolFormat:
    """Raises UnknownParser."""
    if name not in tool_parsers():
        raise UnknownParser(f"there is no tool call parser {name!r}; there are {', '.join(tool_parsers())}")
    package = tool_parsers()[name] if name not in LM_KNOWS_BETTER else OTHERS
    module = importlib.import_module(f"{package}.{name}")
    return ToolFormat(
        name=name,
        starts=(module.tool_call_start, *MORE_STARTS.get(name, ())),
        end=module.tool_call_end,
        parse=module.parse_tool_call,
        module=module if package == PREFERRED else None,
    )


@cache
def tool_parsers() -> dict[str, str]:
    """The package of each parser, by name."""
    found: dict[str, str] = {}
    for package in (OTHERS, PREFERRED):
        path = importlib.import_module(package).__path__
        found.update((each.name, package) for each in pkgutil.iter_modules(path))
    return dict(sorted(found.items()))


def _reasoning_name(tokenizer: Any, template: str) -> str:
    vocab = tokenizer.get_vocab()
    if "<|channel|>" in template and "<|message|>" in template:
        return "harmony"
    own = (getattr(tokenizer, "think_start", None), getattr(tokenizer, "think_end", None))
    for name, marks in THOUGHTS.items():
        if own == marks or all(mark in vocab or mark in template for mark in marks):
            return name
    return NONE


def _tool_name(tokenizer: Any, template: str) -> str:
    """As mlx-vlm tells it, who knows more formats, else as mlx-lm does."""
    if not template:
        return NONE
    from mlx_vlm.tools import registry  # a second of imports, for models with a template only

    name = registry._infer_tool_parser(template)
    # Of the mark alone its table knows only the most common form of the template.
    fallback = "json_tools" if "<tool_call>" in template else NONE
    return str(name or getattr(tokenizer, "init_kwargs", {}).get("tool_parser_type") or fallback)


def _template(tokenizer: Any) -> str:
    """The text of the template that is used when there are tools."""
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, dict):
        template = template.get("tool_use") or template.get("default")
    return template if isinstance(template, str) else ""
