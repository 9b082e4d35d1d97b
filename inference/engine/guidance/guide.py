"""Which tokens one row may say next: its thought has an end, and its answer a grammar."""

from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher

Words = npt.NDArray[np.int32]
"""Allowed tokens, [ceil(vocab / 32)]: token t is bit t % 32 of word t // 32."""


@dataclass(frozen=True, slots=True)
class Thought:
    """How a model's thought is told from its answer, in tokens. budget: how many it may take, None: any number."""

    start: tuple[int, ...]
    end: tuple[int, ...]
    closing: tuple[int, ...]
    """What closes it when its budget is used up."""
    budget: int | None = None


class Phase(Enum):
    BEFORE = auto()
    """Nothing is said: a thought may begin, or the answer."""
    THOUGHT = auto()
    CLOSING = auto()
    ANSWER = auto()


class Guide:
    """Moves on with every token of its row that is known, see `consume`."""

    def __init__(
        self, matcher: LLMatcher | None, thought: Thought | None, *, begun: bool, ends: frozenset[int] = frozenset()
    ):
        """begun: the prompt has opened a thought already. ends: tokens that end an answer, which a thought may not
        while a grammar waits for what comes after it."""
        self.matcher = matcher
        self._thought = thought
        self._ends = ends
        self._phase = Phase.ANSWER if thought is None else Phase.THOUGHT if begun else Phase.BEFORE
        self._tail: list[int] = []
        self._used = 0
        self._closed = 0
        """Tokens of `closing` that have been said."""
        self._close_if_spent()

    @property
    def acts(self) -> bool:
        """Whether any token is forbidden now."""
        return self._phase is Phase.CLOSING or self.matcher is not None

    @property
    def asks(self) -> LLMatcher | None:
        """The matcher that has to be asked for the next token."""
        return self.matcher if self._phase in (Phase.ANSWER, Phase.BEFORE) else None

    @property
    def failed(self) -> bool:
        """The grammar was left, or its matcher has run into a limit."""
        return self.matcher is not None and self.matcher.is_error()

    def adjust(self, words: Words) -> None:
        """Completes the row's words: what the matcher said, or all ones where it was not asked."""
        assert self._thought is not None or self._phase is Phase.ANSWER
        match self._phase:
            case Phase.BEFORE:
                assert self._thought is not None
                _set(words, self._thought.start[0])
            case Phase.CLOSING:
                assert self._thought is not None
                words[:] = 0
                _set(words, self._thought.closing[self._closed])
            case Phase.THOUGHT:
                for token in self._ends:
                    _clear(words, token)

    def consume(self, token: int) -> None:
        """The row has said it."""
        thought = self._thought
        if self._phase is Phase.BEFORE:
            assert thought is not None
            self._phase = Phase.THOUGHT if token == thought.start[0] else Phase.ANSWER
            if self._phase is Phase.THOUGHT:
                self._close_if_spent()
                return
        match self._phase:
            case Phase.THOUGHT:
                assert thought is not None
                self._used += 1
                self._tail = [*self._tail, token][-len(thought.end) :]
                if tuple(self._tail) == thought.end:
                    self._phase = Phase.ANSWER
                else:
                    self._close_if_spent()
            case Phase.CLOSING:
                assert thought is not None
                self._closed += 1
                if self._closed == len(thought.closing):
                    self._phase = Phase.ANSWER
            case Phase.ANSWER if self.matcher is not None and not self.matcher.is_stopped():
                self.matcher.consume_token(token)

    def _close_if_spent(self) -> None:
        thought = self._thought
        budget = None if thought is None else thought.budget
        if self._phase is Phase.THOUGHT and budget is not None and self._used >= budget:
            self._phase = Phase.CLOSING


def _set(words: Words, token: int) -> None:
    words.view(np.uint32)[token // 32] |= np.uint32(1 << token % 32)


def _clear(words: Words, token: int) -> None:
    words.view(np.uint32)[token // 32] &= np.uint32(~(1 << token % 32) & 0xFFFFFFFF)
