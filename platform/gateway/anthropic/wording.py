"""A whole message, as Anthropic words it."""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from gateway.answers import Stamp, encode
from gateway.assembled import Answer
from inference.engine.protocol import Ended, Finished, Tally


class Text(Struct, tag="text"):
    text: str


class Thinking(Struct, tag="thinking"):
    thinking: str
    signature: str = ""


class ToolUse(Struct, tag="tool_use"):
    id: str
    name: str
    input: dict[str, Any]


Block = Text | Thinking | ToolUse


class OutputTokensDetails(Struct):
    thinking_tokens: int


class Usage(Struct, kw_only=True):
    """Anthropic counts what came from the cache beside the input, not within."""

    input_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    service_tier: str


class StopDetails(Struct):
    """Why an answer ended, where `stop_reason` alone would puzzle."""

    type: str
    explanation: str


StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]


class Message(Struct, kw_only=True):
    id: str
    type: str = "message"
    role: str = "assistant"
    model: str
    content: list[Block]
    stop_reason: StopReason | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | None = None
    usage: Usage


class WholeMessage:
    """shows_thinking: else a thought's block is there, but empty."""

    def __init__(self, stamp: Stamp, *, shows_thinking: bool) -> None:
        self._stamp = stamp
        self._shows_thinking = shows_thinking

    def whole(self, answers: list[Answer], end: Finished) -> bytes:
        [answer] = answers
        message = self._message(self._blocks(answer), usage_of(end.tally, self._stamp.tier))
        message.stop_reason = stop_reason(answer.end)
        if answer.end is not None:
            message.stop_sequence = answer.end.stop_sequence
            message.stop_details = stop_details(answer.end)
        return encode(message)

    def _blocks(self, answer: Answer) -> list[Block]:
        blocks: list[Block] = []
        if answer.reasoning:
            blocks.append(Thinking(answer.reasoning if self._shows_thinking else ""))
        if answer.text:
            blocks.append(Text(answer.text))
        blocks += [ToolUse(call.id, call.name, arguments(call.arguments)) for call in answer.calls]
        return blocks

    def _message(self, content: list[Block], usage: Usage) -> Message:
        return Message(id=f"msg_{self._stamp.key}", model=self._stamp.model, content=content, usage=usage)


TIERS = {"priority": "priority", "default": "standard", "flex": "batch"}
"""Anthropic's names of OpenAI's service tiers."""


def usage_of(tally: Tally, tier: str) -> Usage:
    """tier: OpenAI's name of it."""
    return Usage(
        input_tokens=tally.prompt_tokens - tally.cached_tokens,
        cache_read_input_tokens=tally.cached_tokens,
        output_tokens=tally.completion_tokens,
        output_tokens_details=OutputTokensDetails(tally.reasoning_tokens),
        service_tier=TIERS[tier],
    )


def stop_reason(end: Ended | None) -> StopReason:
    match end:
        case Ended(reason="length"):
            return "max_tokens"
        case Ended(reason="tool_calls"):
            return "tool_use"
        case Ended(stop_sequence=str()):
            return "stop_sequence"
    return "end_turn"


def stop_details(end: Ended) -> StopDetails | None:
    return None if end.repetition is None else StopDetails("repetition_detected", end.repetition)


def arguments(text: str) -> dict[str, Any]:
    """Of a call, as an object. One that was cut off by `max_tokens` has none that could be trusted."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}
