"""From a required form to a grammar, and from a grammar to a matcher that knows which tokens may come next."""

import json
import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer

from inference.engine.guidance import calls, schemas
from inference.engine.guidance.errors import TOO_COMPLEX, GrammarError, reason
from inference.engine.guidance.trial import HARMLESS, LIMITS, survives
from inference.engine.protocol import Format
from inference.engine.text.markup import ToolFormat

MARKED = {"json_tools"}
"""Tool formats whose body is a JSON object with `name` and `arguments`: they keep their marks. Calls of the others are
made as plain JSON."""
REMEMBERED = 4 * 2**20
"""Characters of grammars. Their matchers take up to forty times as many bytes."""
LONGEST_GRAMMAR = 512 * 1024
"""Characters."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Grammar:
    """As llguidance reads it, which is not for others to look into. own: a user's own words, not ours around a JSON
    Schema."""

    text: str
    own: bool = False


class Grammars:
    """One model's. `matcher` may be called by any thread and takes milliseconds, up to seconds for huge grammars; those
    of a grammar that was asked for before are copies, at once."""

    def __init__(self, tokenizer: Any, vocab: int, end_tokens: frozenset[int]):
        """tokenizer: mlx-lm's wrapper. vocab: the width of the logits. Takes a second or two for a large vocabulary,
        in which no other thread runs: hence now, and not at the first request with a grammar."""
        self._tokenizer = tokenizer
        self._vocab = vocab
        self._specials = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        self._tokens = _tokens(tokenizer, vocab, end_tokens)
        self._known: OrderedDict[Grammar, LLMatcher | str] = OrderedDict()
        """Or why it can't be used."""
        self._characters = 0
        self._lock = threading.Lock()

    def matcher(self, grammar: Grammar) -> LLMatcher:
        """At the grammar's beginning. Raises GrammarError."""
        with self._lock:
            known = self._known.get(grammar)
            if known is not None:
                self._known.move_to_end(grammar)
        if known is None:
            known = self._compiled(grammar)
            with self._lock:
                self._remember(grammar, known)
        if isinstance(known, str):
            raise GrammarError(known)
        return known.deep_copy()

    def bytes_of(self, token: int) -> bytes:
        """What a token stands for; may be called by any thread."""
        if self._tokens is None:
            return str(self._tokenizer.decode([token])).encode()
        return bytes(self._tokens.decode_bytes([token]))

    def of_format(self, form: Format) -> Grammar:
        """The grammar of a response format. Raises GrammarError."""
        match form.kind:
            case "json_object" | "json_schema":
                return Grammar(LLMatcher.grammar_from_json_schema(_answer(form)))
            case "regex":
                return Grammar(LLMatcher.grammar_from_regex(form.text), own=True)
            case "grammar":
                return Grammar(LLMatcher.grammar_from_lark(form.text), own=True)

    def of_arguments(self, tool: dict[str, Any]) -> Grammar:
        """The grammar of what one tool is called with. Raises GrammarError."""
        return Grammar(LLMatcher.grammar_from_json_schema(schemas.arguments(tool["function"])))

    def of_calls(self, form: ToolFormat | None, tools: list[dict[str, Any]], *, parallel: bool) -> Grammar:
        """The grammar of an answer that calls one of these tools, or several. form: where its marks are to be
        written. Raises GrammarError."""
        rules = calls.plain(tools, parallel=parallel) if form is None else self._calls(form, tools, parallel=parallel)
        return Grammar(LLMatcher.grammar_from_lark(f"start: calls\n{rules}"))

    def of_calls_or(self, marks: ToolFormat, tools: list[dict[str, Any]], form: Format, *, parallel: bool) -> Grammar:
        """The grammar of an answer that calls tools, or is JSON of this form. Raises GrammarError."""
        rules = self._calls(marks, tools, parallel=parallel)
        return Grammar(LLMatcher.grammar_from_lark(f"start: calls | answer\nanswer: %json {_answer(form)}\n{rules}"))

    def _calls(self, marks: ToolFormat, tools: list[dict[str, Any]], *, parallel: bool) -> str:
        return calls.marked(tools, self._mark(marks.starts[0]), self._mark(marks.end), parallel=parallel)

    def _mark(self, text: str) -> str:
        """As Lark has it: special tokens are named, other text is quoted."""
        token = self._tokenizer.get_vocab().get(text)
        special = token is not None and self._tokens is not None and self._tokens.is_special_token(token)
        return text if special else json.dumps(text)

    def _remember(self, grammar: Grammar, known: LLMatcher | str) -> None:
        if grammar not in self._known:
            self._characters += len(grammar.text)
        self._known[grammar] = known
        while self._characters > REMEMBERED:
            oldest, _ = self._known.popitem(last=False)
            self._characters -= len(oldest.text)

    def _compiled(self, grammar: Grammar) -> LLMatcher | str:
        if self._tokens is None:
            return "this model's tokenizer can't follow a grammar"
        if len(grammar.text) > LONGEST_GRAMMAR:
            return f"it is longer than {LONGEST_GRAMMAR // 1024} KiB"
        harmless = len(grammar.text) <= HARMLESS and not grammar.own
        if not harmless and not survives(grammar.text, self._specials, self._vocab):
            return TOO_COMPLEX
        matcher = LLMatcher(self._tokens, grammar.text, log_level=0, limits=LIMITS)
        if not matcher.is_error():
            # Some find out only then that there is no first token.
            matcher.compute_bitmask()
        return reason(matcher.get_error(), places=grammar.own) if matcher.is_error() else matcher


def _tokens(tokenizer: Any, vocab: int, end_tokens: frozenset[int]) -> LLTokenizer | None:
    """None where llguidance does not know this kind of tokenizer."""
    try:
        inner = getattr(tokenizer, "_tokenizer", tokenizer)
        return from_tokenizer(inner, n_vocab=vocab, eos_token=sorted(end_tokens))
    except Exception as error:  # of a foreign tokenizer: the model is fit for everything else
        log.warning("grammars don't work with this model's tokenizer: %s", error)
        return None


def _answer(form: Format) -> str:
    """The schema of a JSON answer, as the compiler takes it."""
    return schemas.prepared({"type": "object"} if form.kind == "json_object" else schemas.read(form.text))
