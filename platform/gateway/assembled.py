"""An answer put together from the engine's events: what a response that is not streamed says."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from inference.engine.protocol import Delta, Ended, FinishReason, TokenLogprob


@dataclass(slots=True)
class Call:
    id: str
    name: str
    arguments: str
    """JSON, as the model wrote it."""


@dataclass(slots=True)
class Answer:
    """One of a request's answers."""

    text: str = ""
    reasoning: str = ""
    calls: list[Call] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    end: Ended | None = None

    def add(self, delta: Delta) -> None:
        self.text += delta.text
        self.reasoning += delta.reasoning
        self.logprobs += delta.logprobs
        for call in delta.calls:
            if call.name is not None:
                self.calls.append(Call(call.id or "", call.name, call.arguments))
            else:
                self.calls[call.index].arguments += call.arguments

    @property
    def reason(self) -> FinishReason:
        return "stop" if self.end is None else self.end.reason


class Answers:
    """All of a request's, by number."""

    def __init__(self, count: int) -> None:
        self.all = [Answer() for _ in range(count)]

    def add(self, events: Iterable[Delta | Ended]) -> None:
        for event in events:
            if isinstance(event, Delta):
                self.all[event.choice].add(event)
            else:
                self.all[event.choice].end = event
