"""From tokens to what a client is told: plain text, thoughts, and calls of tools, each whole enough to be shown."""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from inference.engine.protocol import CallDelta
from inference.engine.text.calls import CallReader
from inference.engine.text.detokenizer import Detokenizer
from inference.engine.text.markup import Markup
from inference.engine.text.stops import StopMatcher

PLAIN = Markup()


@dataclass(slots=True)
class Said:
    text: str = ""
    reasoning: str = ""
    calls: list[CallDelta] = field(default_factory=list)


class State(Enum):
    TEXT = auto()
    THOUGHT = auto()
    CALL = auto()


class Speech:
    """One answer. The texts of all that `push` and `flush` return join to the same, however the tokens fall.

    Marks never show: whatever could still become one is held back. White space around thoughts and calls belongs to
    the marks. Stop strings are looked for in plain text alone.
    """

    def __init__(
        self,
        detokenizer: Detokenizer,
        stops: StopMatcher,
        markup: Markup = PLAIN,
        *,
        state: State = State.TEXT,
        then: State = State.TEXT,
        tools: list[dict[str, Any]] | None = None,
    ):
        """state: what the answer begins with. then: what comes after a thought. tools: those that may be called, as
        the request has them; None: calls are plain text."""
        self._detokenizer = detokenizer
        self._stops = stops
        self._markup = markup
        self._then = then
        self._thought = markup.thought
        self._form = markup.tools if tools is not None else None
        self._reader = CallReader(self._form, tools or []) if self._form is not None else None
        self._state = State.TEXT
        self._held = ""
        self._eats = False
        """White space that comes now belongs to a mark."""
        self._said = Said()
        if state is not State.TEXT:
            self._enter(state)

    @property
    def matched(self) -> str | None:
        """The stop string that was found."""
        return self._stops.matched

    @property
    def thinking(self) -> bool:
        return self._state is State.THOUGHT

    @property
    def called(self) -> bool:
        """Whether any tool was."""
        return self._reader is not None and self._reader.count > 0

    def push(self, token: int) -> Said:
        verbatim = self._state is State.CALL or token in self._markup.literal
        return self._hear(self._detokenizer.step(token, verbatim=verbatim))

    def flush(self, *, whole: bool = True) -> Said:
        """The answer's end. whole: the model has ended it, it was not cut off."""
        said = self._hear(self._detokenizer.flush())
        self._said = said
        held, self._held = self._held, ""
        match self._state:
            case State.CALL:
                assert self._reader is not None
                self._said.calls += self._reader.push(held)
                if whole:
                    self._end_call()
            case State.THOUGHT:
                self._take(held.rstrip())
            case State.TEXT:
                self._take(held)
        said.text += self._stops.flush()
        return said

    # --- inside ------------------------------------------------------------------------------------------------------

    def _hear(self, text: str) -> Said:
        self._said = Said()
        if text and self._stops.matched is None:
            self._held += text
            while self._stops.matched is None and self._advance():
                pass
        return self._said

    def _advance(self) -> bool:
        """Works on what is held; whether a mark was found, and there may be more."""
        marks = self._marks()
        if not marks:
            held, self._held = self._held, ""
            self._take(held)
            return False
        found = [(at, -len(mark), mark) for mark in marks if (at := self._held.find(mark)) >= 0]
        if found:
            at, _, mark = min(found)
            # A longer mark that begins here may not be all there yet.
            if any(other.startswith(self._held[at:]) and other != mark for other in marks):
                self._take_up_to(at)
                return False
            before, self._held = self._held[:at], self._held[at + len(mark) :]
            self._take(before if self._state is State.CALL else before.rstrip())
            self._cross(mark)
            return True
        self._take_up_to(len(self._held) - max(_overlap(self._held, mark) for mark in marks))
        return False

    def _take_up_to(self, end: int) -> None:
        """Passes on what is no mark; the white space before one may belong to it."""
        sure = self._held[:end]
        if self._state is not State.CALL:
            sure = sure.rstrip()
        self._held = self._held[len(sure) :]
        self._take(sure)

    def _marks(self) -> tuple[str, ...]:
        """Those that mean something now."""
        match self._state:
            case State.CALL:
                assert self._form is not None
                return (self._form.end,) if self._form.end else ()
            case State.THOUGHT:
                assert self._thought is not None
                return (self._thought[1],)
            case State.TEXT:
                starts = self._form.starts if self._form is not None else ()
                thought = self._thought or ()
                return (*thought, *starts, *self._markup.frames)

    def _cross(self, mark: str) -> None:
        if self._state is State.CALL:
            self._end_call()
            self._enter(State.TEXT)
        elif self._thought is not None and mark == self._thought[0] and self._state is State.TEXT:
            self._enter(State.THOUGHT)
        elif self._form is not None and self._state is State.TEXT and mark in self._form.starts:
            self._enter(State.CALL)
        else:
            # The end of a thought, or a frame.
            self._enter(self._then if self._state is State.THOUGHT else State.TEXT)

    def _enter(self, state: State) -> None:
        self._state = state
        self._eats = state is not State.CALL
        if state is State.CALL:
            assert self._reader is not None
            self._reader.begin()

    def _end_call(self) -> None:
        assert self._reader is not None
        calls = self._reader.end()
        if calls is None:
            self._say(self._reader.body.strip())
        else:
            self._said.calls += calls

    def _take(self, text: str) -> None:
        if self._eats:
            text = text.lstrip()
        if not text:
            return
        self._eats = False
        match self._state:
            case State.CALL:
                assert self._reader is not None
                self._said.calls += self._reader.push(text)
            case State.THOUGHT:
                self._think(text)
            case State.TEXT:
                self._say(text)

    def _think(self, text: str) -> None:
        self._said.reasoning += self._without_strays(text)

    def _say(self, text: str) -> None:
        self._said.text += self._stops.push(self._without_strays(text))

    def _without_strays(self, text: str) -> str:
        """Special tokens that marks consist of, where they are no mark, are no text either."""
        for token in self._markup.literal:
            text = text.replace(self._markup.specials[token], "")
        return text


def _overlap(text: str, mark: str) -> int:
    """The length of the longest beginning of the mark that the text ends with."""
    for length in range(min(len(mark) - 1, len(text)), 0, -1):
        if text.endswith(mark[:length]):
            return length
    return 0
