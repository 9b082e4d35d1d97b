"""Calls of tools as they are written: names and arguments, as early as they are certain."""

import json
import re
import uuid
from collections.abc import Callable
from typing import Any

from inference.engine.protocol import CallDelta
from inference.engine.text.call_json import Header, JsonCalls, is_object
from inference.engine.text.call_reader import Piece, Reader
from inference.engine.text.call_tags import ARROWS, ATTRIBUTES, LONG_PAIRS, PAIRS, TaggedCalls, Tags
from inference.engine.text.markup import ToolFormat

JSON: dict[str, Header | None] = {
    "json": None,
    "json_tools": None,
    "cohere2_moe": None,
    "mistral": Header(
        re.compile(
            r"(?P<name>[\w.-]+)\s*(?:\[CALL_ID\]\s*(?P<id>[\w-]+)\s*)?(?:\[ARGS\]|(?=\{))",
        ),
        ("[TOOL_CALLS]",),
    ),
    "kimi_k2": Header(
        re.compile(
            r"(?P<id>(?:functions\.)?(?P<name>[^\s<:]+):\d+)\s*<\|tool_call_argument_begin\|>",
        ),
        ("<|tool_call_begin|>", "<|tool_call_end|>"),
    ),
    "harmony": Header(re.compile(r"(?:functions\.)?(?P<name>[^\s<]+)[^{}]*?<\|message\|>")),
}
"""Formats whose calls are JSON."""
TAGS: dict[str, Tags] = {
    "qwen3_coder": ARROWS,
    "minimax_m2": ATTRIBUTES,
    "glm47": PAIRS,
    "laguna": PAIRS,
    "longcat": LONG_PAIRS,
}
"""Formats whose calls have an argument's text between tags."""
EACH = {
    "kimi_k3": "<|close|>call<|sep|>",
    "minimax_m3": "]<]minimax[>[</invoke>",
    "atem": "</atem:invoke>",
    "muse_spark": "</atem:invoke>",
}
"""What ends each of several calls, in the other formats."""
QUOTES = {
    "gemma4": ('<|"|>', '<|"|>'),
    "function_gemma": ("<escape>", "<escape>"),
    "minicpm5": ("<![CDATA[", "]]>"),
    "kimi_k3": ("<|open|>argument", "<|close|>argument<|sep|>"),
    "atem": ("<atem:parameter", "</atem:parameter>"),
    "muse_spark": ("<atem:parameter", "</atem:parameter>"),
}
"""Between which of their marks text is an argument's, whatever it looks like."""
FANCIFUL = {"glm47", "laguna"}
"""Formats whose parsers make a call of any text: there only a tool that exists is called."""


class CallReader:
    """Reads the bodies of calls, one after the other, of one answer.

    A name that has been passed on can't be taken back, so a call that breaks in its arguments stays one, with the
    beginning of its JSON: whoever reads it sees that it is not whole. Arguments are never closed in the model's
    place, which would make half of a text look like all of it.
    """

    def __init__(self, form: ToolFormat, tools: list[dict[str, Any]]):
        self._form = form
        self._tools = tools
        self._reader = self._new()
        self._body: list[str] = []
        self._first = 0
        """The index of the first call of the body that is read now."""
        self.count = 0
        """Calls so far."""

    def begin(self) -> None:
        self._reader = self._new()
        self._body = []
        self._first = self.count

    @property
    def body(self) -> str:
        return "".join(self._body)

    @property
    def quoting(self) -> bool:
        """The end's mark, if it comes now, may be a part of an argument."""
        return self._reader.quoting

    def settles(self, more: str) -> bool:
        """Whether this would make the body nothing but whole calls."""
        trial = self._new()
        trial.push(self.body + more)
        return trial.settled and not trial.quoting

    def push(self, text: str) -> list[CallDelta]:
        """More of the body."""
        self._body.append(text)
        return self._deltas(self._reader.push(text))

    def end(self) -> list[CallDelta] | None:
        """The body is whole. None where it was no call, and nothing of it was passed on as one."""
        deltas = self._deltas(self._reader.finish())
        if self.count > self._first:
            return deltas
        body = self.body.strip()
        try:
            pieces = _known(self._form, self._tools, body)
        except Exception:  # parsers of foreign formats raise what they like
            # A call without arguments is but a name in some of them.
            pieces = [Piece(body, None, "{}")] if body in _names(self._tools) else []
        return self._deltas(pieces) or None

    def _new(self) -> Reader:
        name, form, tools = self._form.name, self._form, self._tools
        if name in JSON:
            return JsonCalls(JSON[name], form.starts)
        if name in TAGS:
            return TaggedCalls(TAGS[name], lambda body: form.parse(body, tools), lambda *at: _is_string(tools, *at))
        return _WholeCalls(lambda body: _known(form, tools, body), EACH.get(name, ""), QUOTES.get(name))

    def _deltas(self, pieces: list[Piece]) -> list[CallDelta]:
        deltas = []
        for name, id, arguments in pieces:
            if name is not None:
                deltas.append(CallDelta(self.count, id or new_id(), name, arguments))
                self.count += 1
            elif arguments:
                deltas.append(CallDelta(self.count - 1, None, None, arguments))
        return deltas


class _WholeCalls:
    """Calls that are read when they are whole, by their format's parser."""

    def __init__(self, parse: Callable[[str], list[Piece]], each: str, quotes: tuple[str, str] | None):
        self._parse = parse
        self._each = each
        self._quotes = quotes
        self._rest = ""
        self._tried = 0
        """Up to here no call of several ends."""

    @property
    def quoting(self) -> bool:
        return self._quoted(self._rest)

    @property
    def settled(self) -> bool:
        return True

    def push(self, text: str) -> list[Piece]:
        self._rest += text
        pieces: list[Piece] = []
        while self._each and (at := self._rest.find(self._each, self._tried)) >= 0:
            self._tried = at + len(self._each)
            if self._quoted(self._rest[:at]):
                continue
            try:
                pieces += self._parse(self._rest[: self._tried])
            except Exception:  # parsers of foreign formats raise what they like
                continue
            self._rest, self._tried = self._rest[self._tried :], 0
        return pieces

    def finish(self) -> list[Piece]:
        try:
            return self._parse(self._rest)
        except Exception:
            return []

    def _quoted(self, text: str) -> bool:
        if self._quotes is None:
            return False
        opening, closing = self._quotes
        at = text.find(opening)
        while at >= 0:
            end = text.find(closing, at + len(opening))
            if end < 0:
                return True
            at = text.find(opening, end + len(closing))
        return False


def new_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"


def _known(form: ToolFormat, tools: list[dict[str, Any]], body: str) -> list[Piece]:
    """What the format's parser makes of it. Raises for what is no call."""
    parsed = form.parse(body.strip(), tools)
    pieces = [_whole(call) for call in (parsed if isinstance(parsed, list) else [parsed])]
    if form.name in FANCIFUL and any(piece.name not in _names(tools) for piece in pieces):
        raise ValueError("a call of no tool")
    return pieces


def _whole(call: Any) -> Piece:
    """Raises for what is no call."""
    name, arguments, id = call["name"], call.get("arguments"), call.get("id")
    if not isinstance(name, str) or not name.strip():
        raise ValueError("a call without a name")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False, allow_nan=False)
    if not is_object(text):
        raise ValueError("arguments that are no object")
    return Piece(name.strip(), id if isinstance(id, str) and id else None, text)


def _names(tools: list[dict[str, Any]]) -> set[str]:
    return {tool["function"]["name"] for tool in tools}


def _is_string(tools: list[dict[str, Any]], name: str, key: str) -> bool:
    """Whether the tool's schema says that this argument is a string, and nothing else."""
    for tool in tools:
        function = tool["function"]
        if function["name"] == name:
            schema = ((function.get("parameters") or {}).get("properties") or {}).get(key)
            return isinstance(schema, dict) and schema.get("type") == "string"
    return False
