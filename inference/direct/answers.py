"""What a call gives: whole, or in pieces as it is written."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from inference.direct.errors import EngineError, failed
from inference.direct.host import Host
from inference.engine import protocol


@dataclass(frozen=True, slots=True)
class ToolCall:
    """arguments: JSON, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    reasoning: str
    """What it thought before, where the model thinks."""
    tool_calls: list[ToolCall]
    finish_reason: protocol.FinishReason
    prompt_tokens: int
    cached_tokens: int
    """Of the prompt, those that did not have to be computed."""
    completion_tokens: int
    reasoning_tokens: int
    queue_ms: float
    prefill_ms: float
    decode_ms: float

    @property
    def message(self) -> dict[str, Any]:
        """For the next `chat`, behind the messages that this answers."""
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in self.tool_calls
        ]
        message: dict[str, Any] = {"role": "assistant", "content": self.text}
        return message | ({"tool_calls": calls} if calls else {})

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Chunk:
    """More of an answer. Calls of tools come whole, with the last one."""

    text: str = ""
    reasoning: str = ""
    answer: Answer | None = None
    """All of it, with the last one."""

    @property
    def finish_reason(self) -> protocol.FinishReason | None:
        """None before the last one."""
        return None if self.answer is None else self.answer.finish_reason


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class _Written:
    """An answer so far."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: dict[int, _Call] = field(default_factory=dict)
    reason: protocol.FinishReason = "stop"

    def add(self, delta: protocol.Delta) -> None:
        self.text.append(delta.text)
        self.reasoning.append(delta.reasoning)
        for piece in delta.calls:
            call = self.calls.setdefault(piece.index, _Call())
            call.id = piece.id or call.id
            call.name = piece.name or call.name
            call.arguments += piece.arguments

    def whole(self, tally: protocol.Tally) -> Answer:
        return Answer(
            text="".join(self.text),
            reasoning="".join(self.reasoning),
            tool_calls=[ToolCall(call.id, call.name, call.arguments) for _, call in sorted(self.calls.items())],
            finish_reason=self.reason,
            prompt_tokens=tally.prompt_tokens,
            cached_tokens=tally.cached_tokens,
            completion_tokens=tally.completion_tokens,
            reasoning_tokens=tally.reasoning_tokens,
            queue_ms=tally.queue_ms,
            prefill_ms=tally.prefill_ms,
            decode_ms=tally.decode_ms,
        )


class Stream:
    """An answer in pieces, as they come: an iterator over `Chunk`s, for one thread; any may close it. Where it is left
    early, by `close`, at the end of a `with` block or because nobody has it any more, the engine stops working on it.

    Raises EngineError and RequestTimeout while it is read.
    """

    def __init__(self, host: Host, request: protocol.Generate):
        """Starts it. Raises RequestError, EngineError."""
        self._host = host
        self._written = _Written()
        self._ended = True
        self._id, self._events = host.ask(request)
        self._ended = False

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        while not self._ended:
            try:
                event = self._events.get()
            except BaseException:
                # Ctrl-C, as a rule.
                self.close()
                raise
            if self._ended:
                # Closed by another thread meanwhile.
                break
            match event:
                case protocol.Delta():
                    self._written.add(event)
                    if event.text or event.reasoning:
                        return Chunk(event.text, event.reasoning)
                case protocol.Ended():
                    self._written.reason = event.reason
                case protocol.Finished():
                    self._ended = True
                    return Chunk(answer=self._written.whole(event.tally))
                case protocol.Failed():
                    self._ended = True
                    raise failed(event)
                case None:
                    self._ended = True
                    raise EngineError("The engine ended while it worked on this call.")
        raise StopIteration

    def whole(self) -> Answer:
        """Reads it to its end. Raises EngineError also where it has been read or closed before."""
        for chunk in self:
            if chunk.answer is not None:
                return chunk.answer
        raise EngineError("This stream has come to its end before.")

    def close(self) -> None:
        """Harmless when it has ended."""
        if not self._ended:
            self._ended = True
            self._host.cancel(self._id)
            self._events.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
