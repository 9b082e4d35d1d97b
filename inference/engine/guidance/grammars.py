"""From a required form to a grammar, and from a grammar to a matcher that knows which tokens may come next."""

import json
import threading
from collections import OrderedDict
from typing import Any

from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer

from inference.engine.protocol import Format
from inference.engine.text.markup import ToolFormat

MARKED = {"json_tools"}
"""Tool formats whose body is a JSON object with `name` and `arguments`: they keep their marks. Calls of the others are
made as plain JSON."""
REMEMBERED = 256
LONGEST_GRAMMAR = 512 * 1024
"""Characters. Compiling takes up to seconds for such."""
WHITE_SPACE = r"[ \n]{0,24}"
"""Between the parts of JSON: as much as indenting needs. Without a bound, a hot row may write nothing else."""
LONGEST_REASON = 300


class GrammarError(ValueError):
    """It can't be compiled; the message says why, for the user who sent it."""


class Grammars:
    """One model's. `matcher` may be called by any thread and takes milliseconds, seconds for huge grammars; those of
    a grammar that was asked for before are copies, at once."""

    def __init__(self, tokenizer: Any, vocab: int, end_tokens: frozenset[int]):
        """tokenizer: mlx-lm's wrapper. vocab: the width of the logits."""
        self._tokenizer = tokenizer
        self._vocab = vocab
        self._ends = sorted(end_tokens)
        self._ready: LLTokenizer | None = None
        self._known: OrderedDict[str, LLMatcher] = OrderedDict()
        self._lock = threading.Lock()

    def matcher(self, grammar: str) -> LLMatcher:
        """At the grammar's beginning. Raises GrammarError."""
        with self._lock:
            known = self._known.get(grammar)
            if known is not None:
                self._known.move_to_end(grammar)
                return known.deep_copy()
        if len(grammar) > LONGEST_GRAMMAR:
            raise GrammarError(f"it is longer than {LONGEST_GRAMMAR} characters")
        made = LLMatcher(self._tokens(), grammar, log_level=0)
        if made.is_error():
            raise GrammarError(_reason(made.get_error()))
        with self._lock:
            self._known[grammar] = made
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return made.deep_copy()

    def bytes_of(self, token: int) -> bytes:
        """What a token stands for; may be called by any thread."""
        try:
            return bytes(self._tokens().decode_bytes([token]))
        except GrammarError:
            return str(self._tokenizer.decode([token])).encode()

    def of_format(self, form: Format) -> str:
        """The grammar of a response format. Raises GrammarError."""
        match form.kind:
            case "json_object":
                return _of_schema({"type": "object"})
            case "json_schema":
                return _of_schema(_schema(form.text))
            case "regex":
                return str(LLMatcher.grammar_from_regex(form.text))
            case "grammar":
                return str(LLMatcher.grammar_from_lark(form.text))

    def of_calls(self, form: ToolFormat | None, tools: list[dict[str, Any]], *, parallel: bool) -> str:
        """The grammar of an answer that calls one of these tools, or several. form: where its marks are to be
        written."""
        if form is None:
            body = _body(tools)
            schema: dict[str, Any] = {"anyOf": [body, {"type": "array", "items": body, "minItems": 1}]}
            return _of_schema(schema if parallel else body)
        return str(LLMatcher.grammar_from_lark(f"start: calls\n{self._calls(form, tools, parallel=parallel)}"))

    def of_calls_or(self, marks: ToolFormat, tools: list[dict[str, Any]], form: Format, *, parallel: bool) -> str:
        """The grammar of an answer that calls tools, or is JSON of this form. Raises GrammarError."""
        answer = {"type": "object"} if form.kind == "json_object" else _schema(form.text)
        calls = self._calls(marks, tools, parallel=parallel)
        return str(
            LLMatcher.grammar_from_lark(
                f"start: calls | answer\nanswer: %json {json.dumps(_with_options(answer))}\n{calls}"
            )
        )

    def _calls(self, marks: ToolFormat, tools: list[dict[str, Any]], *, parallel: bool) -> str:
        """Rules of Lark."""
        again = ' ("\\n" call)*' if parallel else ""
        return (
            f"calls: call{again}\n"
            f'call: {self._mark(marks.starts[0])} "\\n" body "\\n" {self._mark(marks.end)}\n'
            f"body: %json {json.dumps(_with_options(_body(tools)))}\n"
        )

    def _mark(self, text: str) -> str:
        """As Lark has it: special tokens are named, other text is quoted."""
        token = self._tokenizer.get_vocab().get(text)
        special = token is not None and self._tokens().is_special_token(token)
        return text if special else json.dumps(text)

    def _tokens(self) -> LLTokenizer:
        with self._lock:
            if self._ready is None:
                inner = getattr(self._tokenizer, "_tokenizer", self._tokenizer)
                try:
                    self._ready = from_tokenizer(inner, n_vocab=self._vocab, eos_token=self._ends)
                except ValueError:
                    raise GrammarError("this model's tokenizer can't follow a grammar") from None
            return self._ready


def _schema(text: str) -> dict[str, Any]:
    try:
        schema = json.loads(text)
    except ValueError as error:
        raise GrammarError(f"it is no JSON: {error}") from None
    if schema is True:
        return {}
    if not isinstance(schema, dict):
        raise GrammarError("a schema is a JSON object")
    return schema


def _of_schema(schema: dict[str, Any]) -> str:
    return str(LLMatcher.grammar_from_json_schema(json.dumps(_with_options(schema))))


def _with_options(schema: dict[str, Any]) -> dict[str, Any]:
    """How the grammar's compiler is to read it. What the schema itself says of that is not for clients to choose."""
    return {**schema, "x-guidance": {"whitespace_pattern": WHITE_SPACE}}


LENIENT = {"lenient": True}
"""Keywords that the compiler does not know are passed over."""


def _body(tools: list[dict[str, Any]]) -> dict[str, Any]:
    """The schema of a call of one of these."""
    calls = [_call(tool["function"]) for tool in tools]
    return calls[0] if len(calls) == 1 else {"anyOf": calls}


def _call(function: dict[str, Any]) -> dict[str, Any]:
    """The schema of one call. Only a strict tool has promised that every keyword of its schema counts."""
    arguments = function.get("parameters") or {"type": "object"}
    if not function.get("strict"):
        arguments = {**arguments, "x-guidance": LENIENT}
    if "properties" in arguments:
        # A model that may invent arguments does.
        arguments = {"additionalProperties": False, **arguments}
    return {
        "type": "object",
        "properties": {"name": {"const": function["name"]}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _reason(message: str) -> str:
    """The first line that says something, short enough for an error message."""
    line = next((line.strip() for line in message.splitlines() if line.strip()), "it can't be compiled")
    return line if len(line) <= LONGEST_REASON else line[:LONGEST_REASON] + "…"
