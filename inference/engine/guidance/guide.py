"""Which tokens one row may say next: its thought has an end, and its answer a grammar."""

from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher

Words = npt.NDArray[np.int32]
"""Allowed tokens, [ceil(vocab / 32)]: token t is bit t % 32 of word t // 32."""


class GuideFailed(Exception):
    """A row can't go on as it must. The message is for its user."""


TOO_COMPLEX = "The grammar of this answer has become too complex to be followed any further."
NOTHING_LEFT = "Nothing may follow what was said: `logit_bias` forbids all that the answer's grammar allows."


@dataclass(frozen=True, slots=True)
class Thought:
    """How a model's thought is told from its answer, in tokens. budget: how many it may take, None: any number."""

    start: tuple[int, ...]
    end: tuple[int, ...]
    closing: tuple[int, ...]
    """What closes it when its budget is used up, and leads to the answer."""
    budget: int | None = None

    @property
    def lead(self) -> tuple[int, ...]:
        """What of `closing` comes after the thought's end."""
        for at in range(len(self.closing) - len(self.end) + 1):
            if self.closing[at : at + len(self.end)] == self.end:
                return self.closing[at + len(self.end) :]
        return ()


class Phase(Enum):
    BEFORE = auto()
    """Nothing is said: a thought may begin, or the answer."""
    OPENING = auto()
    """The first of several tokens that begin a thought is said."""
    THOUGHT = auto()
    FORCED = auto()
    """The way from a thought to its answer."""
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
        """The latest tokens of a thought, or of its beginning."""
        self._used = 0
        self._forced: tuple[int, ...] = ()
        """Still to be said."""
        self._close_if_spent()

    @property
    def acts(self) -> bool:
        """Whether any token is forbidden now."""
        return self._phase is Phase.FORCED or self.matcher is not None

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
        match self._phase:
            case Phase.BEFORE if self._thought is not None:
                _set(words, self._thought.start[0])
            case Phase.OPENING if self._thought is not None:
                _only(words, self._thought.start[len(self._tail)])
            case Phase.FORCED:
                _only(words, self._forced[0])
            case Phase.THOUGHT:
                for token in self._ends:
                    _clear(words, token)

    def consume(self, token: int) -> None:
        """The row has said it."""
        if self._phase in (Phase.BEFORE, Phase.OPENING) and self._opens(token):
            return
        match self._phase:
            case Phase.THOUGHT if self._thought is not None:
                self._used += 1
                self._tail = [*self._tail, token][-len(self._thought.end) :]
                if tuple(self._tail) != self._thought.end:
                    self._close_if_spent()
                else:
                    # Without a grammar the model finds the way itself, and may have something else in mind.
                    self._force(self._thought.lead if self.matcher is not None else ())
            case Phase.FORCED:
                self._force(self._forced[1:])
            case Phase.ANSWER if self.matcher is not None and not self.matcher.is_stopped():
                self.matcher.consume_token(token)

    def _opens(self, token: int) -> bool:
        """Whether it is a part of what begins a thought; else the answer begins with it."""
        assert self._thought is not None
        start = self._thought.start
        if token != start[len(self._tail)]:
            self._phase = Phase.ANSWER
            return False
        self._tail.append(token)
        if len(self._tail) < len(start):
            self._phase = Phase.OPENING
        else:
            self._phase, self._tail = Phase.THOUGHT, []
            self._close_if_spent()
        return True

    def _close_if_spent(self) -> None:
        thought = self._thought
        budget = None if thought is None else thought.budget
        if thought is not None and self._phase is Phase.THOUGHT and budget is not None and self._used >= budget:
            self._force(thought.closing)

    def _force(self, tokens: tuple[int, ...]) -> None:
        self._forced = tokens
        self._phase = Phase.FORCED if tokens else Phase.ANSWER


def _only(words: Words, token: int) -> None:
    words[:] = 0
    _set(words, token)


def _set(words: Words, token: int) -> None:
    words.view(np.uint32)[token // 32] |= np.uint32(1 << token % 32)


def _clear(words: Words, token: int) -> None:
    words.view(np.uint32)[token // 32] &= np.uint32(~(1 << token % 32) & 0xFFFFFFFF)
