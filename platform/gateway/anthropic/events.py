"""A message as the events of a stream, in Anthropic's order."""

from typing import Literal

from msgspec import Struct

from gateway import sse
from gateway.answers import Stamp, encode
from gateway.anthropic.wording import (
    Block,
    Message,
    StopDetails,
    StopReason,
    Text,
    Thinking,
    ToolUse,
    Usage,
    WholeMessage,
    stop_details,
    stop_reason,
    usage_of,
)
from gateway.context import RequestContext
from inference.engine import protocol
from inference.engine.protocol import Ended, Finished, Tally


class MessageStart(Struct, tag="message_start"):
    message: Message


class BlockStart(Struct, tag="content_block_start"):
    index: int
    content_block: Block


class TextDelta(Struct, tag="text_delta"):
    text: str


class ThinkingDelta(Struct, tag="thinking_delta"):
    thinking: str


class SignatureDelta(Struct, tag="signature_delta"):
    signature: str = ""


class InputDelta(Struct, tag="input_json_delta"):
    partial_json: str


class BlockDelta(Struct, tag="content_block_delta"):
    index: int
    delta: TextDelta | ThinkingDelta | SignatureDelta | InputDelta


class BlockStop(Struct, tag="content_block_stop"):
    index: int


class Ending(Struct):
    stop_reason: StopReason
    stop_sequence: str | None
    stop_details: StopDetails | None


class MessageDelta(Struct, tag="message_delta"):
    delta: Ending
    usage: Usage


class MessageStop(Struct, tag="message_stop"):
    pass


class MessageAnswers(WholeMessage):
    """context: knows the prompt's tokens when the stream begins."""

    def __init__(self, stamp: Stamp, context: RequestContext, *, shows_thinking: bool) -> None:
        super().__init__(stamp, shows_thinking=shows_thinking)
        self._context = context
        self._open: Literal["text", "thinking", "tool_use"] | None = None
        self._index = -1
        """Of the block that is open, or was last."""
        self._end: Ended | None = None

    def opening(self) -> bytes:
        tally = Tally(prompt_tokens=self._context.prompt_tokens, cached_tokens=self._context.cached_tokens)
        usage = usage_of(tally, self._stamp.tier)
        return event(MessageStart(self._message([], usage)))

    def piece(self, delta: protocol.Delta) -> bytes:
        events = b""
        if delta.reasoning:
            if self._open != "thinking":
                events += self._start("thinking", Thinking(""))
            if self._shows_thinking:
                events += self._delta(ThinkingDelta(delta.reasoning))
        if delta.text:
            if self._open != "text":
                events += self._start("text", Text(""))
            events += self._delta(TextDelta(delta.text))
        for call in delta.calls:
            if call.name is not None:
                events += self._start("tool_use", ToolUse(call.id or "", call.name, {}))
            if call.arguments:
                events += self._delta(InputDelta(call.arguments))
        return events

    def ended(self, end: Ended) -> bytes:
        self._end = end
        return self._stop()

    def closing(self, end: Finished) -> bytes:
        ended = self._end
        ending = Ending(
            stop_reason(ended),
            None if ended is None else ended.stop_sequence,
            None if ended is None else stop_details(ended),
        )
        return event(MessageDelta(ending, usage_of(end.tally, self._stamp.tier))) + event(MessageStop())

    def _start(self, kind: Literal["text", "thinking", "tool_use"], block: Block) -> bytes:
        stopped = self._stop()
        self._open = kind
        self._index += 1
        return stopped + event(BlockStart(self._index, block))

    def _delta(self, delta: TextDelta | ThinkingDelta | SignatureDelta | InputDelta) -> bytes:
        return event(BlockDelta(self._index, delta))

    def _stop(self) -> bytes:
        if self._open is None:
            return b""
        # A thought is signed at its end; ours prove nothing, but clients wait for it.
        signature = self._delta(SignatureDelta()) if self._open == "thinking" else b""
        self._open = None
        return signature + event(BlockStop(self._index))


def event(said: Struct) -> bytes:
    name = said.__struct_config__.tag
    assert isinstance(name, str)
    return sse.event(encode(said), name)
