"""What a client would be told of an answer that comes in given pieces."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from inference.engine.text.markup import FRAMES, THOUGHTS, Markup, tool_format
from inference.engine.text.speech import Said, Speech, State
from inference.engine.text.stops import StopMatcher


class Pieces:
    """In place of a detokenizer: tokens are places in a list of texts. Real ones are in `test_speech_tokens`."""

    def __init__(self, pieces: Sequence[str]):
        self._pieces = pieces

    def step(self, token: int, *, verbatim: bool = False) -> str:
        return self._pieces[token]

    def flush(self) -> str:
        return ""


@dataclass
class Heard:
    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    """Names, and arguments as they were joined."""
    ids: list[str] = field(default_factory=list)
    matched: str | None = None
    moments: list[Said] = field(default_factory=list)

    @property
    def said(self) -> tuple[str, str, list[tuple[str, str]], str | None]:
        return self.text, self.reasoning, self.calls, self.matched

    @property
    def parsed(self) -> list[tuple[str, Any]]:
        return [(name, json.loads(arguments)) for name, arguments in self.calls]


def markup(tools: str = "none", thoughts: str = "none") -> Markup:
    form = None if tools == "none" else tool_format(tools)
    return Markup(THOUGHTS.get(thoughts), form, FRAMES.get(thoughts, ()))


def hear(
    pieces: Iterable[str],
    marks: Markup,
    tools: list[dict[str, Any]] | None = None,
    *,
    stops: Sequence[str] = (),
    state: State = State.TEXT,
    then: State = State.TEXT,
    whole: bool = True,
) -> Heard:
    pieces = list(pieces)
    speech = Speech(Pieces(pieces), StopMatcher(list(stops)), marks, state=state, then=then, tools=tools)  # type: ignore[arg-type]
    heard = Heard()
    for said in (*(speech.push(token) for token in range(len(pieces))), speech.flush(whole=whole)):
        heard.moments.append(said)
        heard.text += said.text
        heard.reasoning += said.reasoning
        for call in said.calls:
            if call.name is not None:
                assert call.index == len(heard.calls), "calls come in their order"
                assert call.id
                heard.calls.append((call.name, call.arguments))
                heard.ids.append(call.id)
            else:
                assert call.index == len(heard.calls) - 1, "and one after the other"
                assert call.id is None
                heard.calls[-1] = (heard.calls[-1][0], heard.calls[-1][1] + call.arguments)
    heard.matched = speech.matched
    assert speech.called == bool(heard.calls)
    return heard


def splits(text: str) -> Iterator[list[str]]:
    """At every place into two, and into single characters."""
    yield from ([text[:at], text[at:]] for at in range(len(text) + 1))
    yield list(text)
