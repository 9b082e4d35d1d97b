"""What a model writes that is not plain text: how it marks its thoughts and its calls of tools.

The parsers of calls are mlx-vlm's and mlx-lm's; which of them a model needs is told from its chat template.
"""

import importlib
import json
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

TOOL = "{tool}"
"""Stands in a frame for the name of a tool."""

THOUGHTS: dict[str, tuple[str, str]] = {
    "harmony": ("<|channel|>analysis<|message|>", "<|end|>"),
    "gemma4": ("<|channel>thought", "<channel|>"),
    "magistral": ("[THINK]", "[/THINK]"),
    "cohere": ("<|START_THINKING|>", "<|END_THINKING|>"),
    "seed_oss": ("<seed:think>", "</seed:think>"),
    "minimax_m3": ("<mm:think>", "</mm:think>"),
    "longcat": ("<longcat_think>", "</longcat_think>"),
    "laguna": ("<|think:start|>", "<|think:end|>"),
    "kimi_k3": ("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
    "muse": ("to=self<|message|>", "<|eom|>"),
    "think": ("<think>", "</think>"),
}
"""What encloses a thought, by the name of the reasoning parser. The most common comes last: templates of other formats
name its marks too."""

FRAMES: dict[str, tuple[str, ...]] = {
    "harmony": (
        "<|start|>assistant",
        "<|channel|>final<|message|>",
        "<|channel|>final <|constrain|>json<|message|>",
        "<|channel|>commentary<|message|>",
        "<|end|>",
    ),
    "kimi_k3": ("<|open|>response<|sep|>", "<|close|>response<|sep|>", "<|close|>message<|sep|>"),
    "cohere": ("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
    "muse": (
        "<|start|>assistant",
        "to=user<|message|>",
        "to=commentary<|message|>",
        f"to={TOOL}<|message|>",
        "<|eom|>",
        "<|eot|>",
    ),
}
"""What the same formats put around plain text."""

CLOSINGS = {
    "harmony": "<|end|><|start|>assistant<|channel|>final<|message|>",
    "kimi_k3": "<|close|>think<|sep|><|open|>response<|sep|>",
    "muse": "<|eom|><|start|>assistant to=user<|message|>",
}
"""How a thought ends and the answer begins, where that is more than the end's mark."""

STARTS: dict[str, tuple[str, ...]] = {
    "harmony": ("<|channel|>commentary to=", "<|channel|>analysis to=", "<|start|>assistant to="),
    "atem": ("<atem:function_calls>",),
    "minicpm5": ("<function name=",),
}
"""How calls begin, where the parser's own mark is one way of several, or takes in more than the call."""

PREFERRED = "mlx_vlm.tools.parsers"
OTHERS = "mlx_lm.tool_parsers"
LM_KNOWS_BETTER = {"mistral", "gemma4", "minimax_m2"}
"""mlx-lm's reads several calls in one, strings with brackets, and arguments that may be null."""
ALIASES = {"hermes": "json_tools", "openai": "harmony", "lfm2": "pythonic"}
"""What others call the same formats."""
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


@dataclass(frozen=True, slots=True)
class Markup:
    """thought: what begins and ends a thought. frames: marks that are dropped wherever they stand; see `TOOL`."""

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
    name = ALIASES.get(name, name)
    packages = tool_parsers().get(name)
    if packages is None:
        raise UnknownParser(f"there is no tool call parser {name!r}; there are {', '.join(tool_parsers())}")
    modules = [importlib.import_module(f"{package}.{name}") for package in packages]
    parsers = [module.parse_tool_call for module in modules]
    return ToolFormat(
        name=name,
        starts=STARTS.get(name, (modules[0].tool_call_start,)),
        end=modules[0].tool_call_end,
        parse=_dialects(name, parsers),
    )


@cache
def tool_parsers() -> dict[str, tuple[str, ...]]:
    """The packages that have each parser, by its name; the better one first."""
    found: dict[str, tuple[str, ...]] = {}
    for package in (PREFERRED, OTHERS):
        path = importlib.import_module(package).__path__
        for each in pkgutil.iter_modules(path):
            others = found.get(each.name, ())
            found[each.name] = (package, *others) if each.name in LM_KNOWS_BETTER else (*others, package)
    return dict(sorted(found.items()))


def _dialects(name: str, parsers: list[Callable[[str, Any], Any]]) -> Callable[[str, Any], Any]:
    """The first parser's reading, or the next one's where it finds no call."""
    if name == "minicpm5":
        # Both want to see the mark, which is a part of a tag; the second makes a call of any tag.
        read = _first_of(parsers)
        return lambda body, tools: read(f"<function name={body}</function>" if body[:1] in "\"'" else "", tools)
    if name == "function_gemma":
        # The successor's way to write calls but for the quotes, and its parser knows nested arguments.
        better = tool_format("gemma4").parse
        return _first_of([lambda body, tools: better(body.replace("<escape>", '<|"|>'), tools), *parsers])
    return _first_of(parsers)


def _first_of(parsers: list[Callable[[str, Any], Any]]) -> Callable[[str, Any], Any]:
    def parse(body: str, tools: Any) -> Any:
        for parser in parsers[:-1]:
            try:
                return parser(body, tools)
            except Exception:  # they raise what they like for what they can't read
                continue
        return parsers[-1](body, tools)

    return parse


def _reasoning_name(tokenizer: Any, template: str) -> str:
    if "<|channel|>" in template and "<|message|>" in template:
        return "harmony"
    if "<atem:function_calls>" in template:
        return "muse"
    own = (getattr(tokenizer, "think_start", None), getattr(tokenizer, "think_end", None))
    vocab = tokenizer.get_vocab()
    names = [name for name, marks in THOUGHTS.items() if own == marks]
    names += [name for name, marks in THOUGHTS.items() if all(mark in vocab or mark in template for mark in marks)]
    return names[0] if names else NONE


def _tool_name(tokenizer: Any, template: str) -> str:
    """As mlx-vlm tells it, who knows more formats, else as mlx-lm does when it loads the tokenizer."""
    name = getattr(tokenizer, "init_kwargs", {}).get("tool_parser_type")
    if template:
        from mlx_vlm.tools import registry  # a second of imports, for models with a template only

        name = registry._infer_tool_parser(template) or name
    # Of the mark alone their tables know only the most common form of the template.
    return str(name or ("json_tools" if "<tool_call>" in template else NONE))


def _template(tokenizer: Any) -> str:
    """The text of the template that is used when there are tools."""
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, dict):
        template = template.get("tool_use") or template.get("default")
    return template if isinstance(template, str) else ""
