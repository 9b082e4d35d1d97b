"""From tokens to what a client is told: plain text, thoughts, and calls of tools, each whole enough to be shown."""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from inference.engine.protocol import CallDelta
from inference.engine.text.call_tags import overlap
from inference.engine.text.calls import CallReader
from inference.engine.text.detokenizer import Detokenizer
from inference.engine.text.markup import TOOL, Markup
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
    the marks. Stop strings are looked for in plain text alone, and end all.

    What breaks: the body of a call that can't be read as one is plain text, without its marks; a call whose beginning
    has been passed on before it broke stays a call, see `CallReader`. Where the answer is cut off, a call that has
    not begun to show is dropped, for half of one is no text either. A mark that ends what has not begun is left out.
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
        """state: what the answer begins with. then: what comes after a thought, or instead of one. tools: those that
        may be called, as the request has them; None: calls are plain text."""
        self._detokenizer = detokenizer
        self._stops = stops
        self._markup = markup
        self._then = then
        self._thought = markup.thought
        self._form = markup.tools if tools is not None else None
        self._reader = CallReader(self._form, tools or []) if self._form is not None else None
        self._state = State.TEXT
        self._starts = frozenset(self._form.starts if self._form is not None else ())
        self._frames = frozenset(_frames(markup.frames, tools or []))
        self._strays = frozenset(self._find_strays())
        self._marks = {State.TEXT: self._marks_of_text(), State.THOUGHT: self._marks_of_thought()}
        self._held = ""
        self._tried = 0
        """Marks up to here in what is held are no end of the call."""
        self._eats = then is State.CALL
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
        self._said = Said()
        self._hear(self._detokenizer.step(token, verbatim=verbatim))
        return self._said

    def flush(self, *, whole: bool = True) -> Said:
        """The answer's end. whole: the model has ended it, it was not cut off."""
        self._said = Said()
        self._hear(self._detokenizer.flush(), last=True, whole=whole)
        self._said.text += self._stops.flush()
        return self._said

    # --- inside ------------------------------------------------------------------------------------------------------

    def _hear(self, text: str, *, last: bool = False, whole: bool = True) -> None:
        if self.matched is not None:
            return
        self._held += text
        self._read()
        if not last:
            return
        if not whole:
            self._drop_half_a_mark()
        self._read(last=True, whole=whole)
        if self.matched is not None:
            return
        held, self._held = self._held, ""
        self._take(held.rstrip() if self._state is State.THOUGHT else held)
        if whole and self._state is State.CALL:
            self._end_call()

    def _read(self, *, last: bool = False, whole: bool = False) -> None:
        """All that is certain. last: nothing comes any more. whole: for the answer has ended, properly."""
        while self.matched is None:
            if not (self._read_call(whole) if self._state is State.CALL else self._advance(last)):
                return

    def _drop_half_a_mark(self) -> None:
        """Of an answer that is cut off; where it is not as likely to be text."""
        if self._state is State.CALL:
            return
        at = self._open()
        half = self._held[at:]
        never_text = {*self._marks[self._state], *self._markup.specials.values()}
        if self._state is State.THOUGHT or any(mark in half for mark in never_text):
            self._held = self._held[:at]

    def _open(self) -> int:
        """Where in what is held a mark may begin that is not all there yet."""
        marks = self._marks[self._state]
        return len(self._held) - max((overlap(self._held, mark) for mark in marks), default=0)

    def _advance(self, last: bool) -> bool:
        """Works on the text or thought that is held; whether a mark was found, and there may be more."""
        marks = self._marks[self._state]
        found = [(at, -len(mark), mark) for mark in marks if (at := self._held.find(mark)) >= 0]
        if not last:
            # Nor is a mark one, while a longer one that begins there or before may still come.
            open = self._open()
            if not found or open <= min(found)[0]:
                self._take_up_to(open)
                return False
        if not found:
            return False
        at, _, mark = min(found)
        before, self._held = self._held[:at], self._held[at + len(mark) :]
        self._take(before if mark in self._strays else before.rstrip())
        self._cross(mark)
        return True

    def _take_up_to(self, end: int) -> None:
        """Passes on what is no mark; the white space before one may belong to it."""
        sure = self._held[:end].rstrip() if self._marks[self._state] else self._held[:end]
        self._held = self._held[len(sure) :]
        self._take(sure)

    def _read_call(self, whole: bool) -> bool:
        """The same for calls: whether one has ended."""
        assert self._form is not None and self._reader is not None
        end = self._form.end
        at = self._held.find(end) if end else -1
        if at != 0:
            sure = at if at > 0 else len(self._held) - overlap(self._held, end)
            self._take(self._held[:sure])
            self._held = self._held[sure:]
            if at < 0:
                return False
        if self._reader.quoting:
            inner = self._inner_end(end, whole)
            if inner is None:
                return False
            if inner > 0:
                self._take(self._held[:inner])
                self._held = self._held[inner:]
        self._tried = 0
        self._held = self._held[len(end) :]
        self._end_call()
        self._enter(State.TEXT)
        return True

    def _inner_end(self, end: str, whole: bool) -> int | None:
        """Where the call ends whose arguments have its end's mark in a string: at the first that makes it whole, before
        another call begins. 0: there is none, so it ends here and is broken. None: that is not known yet."""
        assert self._reader is not None
        at = max(self._tried, len(end))
        begins = [found for mark in self._starts if (found := self._held.find(mark, len(end))) >= 0]
        while (at := self._held.find(end, at)) >= 0 and not (begins and min(begins) < at):
            if self._reader.settles(self._held[:at]):
                return at
            at += len(end)
            self._tried = at
        return 0 if begins or whole else None

    def _find_strays(self) -> set[str]:
        """Special tokens that marks consist of, and ends of calls: alone they are no text either."""
        specials = {self._markup.specials[token] for token in self._markup.literal}
        end = {self._form.end} if self._form is not None and self._form.end else set()
        return (specials | end) - self._starts - self._frames - set(self._thought or ())

    def _marks_of_text(self) -> tuple[str, ...]:
        return tuple({*(self._thought or ()), *self._starts, *self._frames, *self._strays})

    def _marks_of_thought(self) -> tuple[str, ...]:
        """Some models forget to end a thought; a call ends it where a special token says that it is one, and so does
        what encloses plain text."""
        if self._thought is None:
            return ()
        specials = set(self._markup.specials.values())
        starts = self._starts if self._markup.frames else self._starts & specials
        return tuple({*self._thought, *starts, *self._frames, *(self._strays & specials)})

    def _cross(self, mark: str) -> None:
        thought = self._thought or ("", "")
        if mark in self._strays or (mark == thought[0] and self._state is State.THOUGHT):
            return
        if mark in self._starts:
            self._enter(State.CALL)
        elif mark == thought[0]:
            self._enter(State.THOUGHT)
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
            self._said.text += self._stops.push(self._without_marks(self._reader.body).strip())
        else:
            self._said.calls += calls

    def _take(self, text: str) -> None:
        if self._eats:
            text = text.lstrip()
        if not text:
            return
        self._eats = False
        if self._state is State.TEXT and self._then is State.CALL and text.strip():
            # There was to be a thought before the call, and the model did without.
            self._enter(State.CALL)
        match self._state:
            case State.CALL:
                assert self._reader is not None
                self._said.calls += self._reader.push(text)
            case State.THOUGHT:
                self._said.reasoning += text
            case State.TEXT:
                self._said.text += self._stops.push(text)

    def _without_marks(self, body: str) -> str:
        marks = {*self._marks[State.TEXT], *self._markup.specials.values()}
        while found := [mark for mark in marks if mark in body]:
            # The longest first: others may be parts of it.
            body = body.replace(max(found, key=len), "")
        return body


def _frames(frames: tuple[str, ...], tools: list[dict[str, Any]]) -> list[str]:
    """Those that name a tool, for each of them."""
    names = [tool["function"]["name"] for tool in tools]
    return [frame.replace(TOOL, name) for frame in frames for name in (names if TOOL in frame else [""])]
