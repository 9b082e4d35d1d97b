"""What the dialects' answers have in common."""

from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from inference.engine.protocol import Finished, Tally

encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Stamp:
    """Which request an answer is to, and who gave it."""

    key: str
    """Unique; part of the answer's id."""
    created: int
    """Unix seconds."""
    model: str
    system_fingerprint: str


class Answers(Protocol):
    """How a dialect words one request's answer: whole, or as the events of a stream, each ready to be sent."""

    def whole(self, text: str, end: Finished) -> bytes: ...

    def opening(self) -> bytes:
        """What a stream begins with, if anything."""
        ...

    def piece(self, text: str) -> bytes: ...

    def closing(self, end: Finished) -> bytes:
        """All that comes after the last piece."""
        ...


class Ending(Struct, kw_only=True):
    """What an answer's last choice says beside OpenAI's `finish_reason`, where that alone would puzzle."""

    stop_reason: str | UnsetType = UNSET
    """"repetition_detected": the text went round in circles (--repetition-policy)."""
    stop_reason_detail: str | UnsetType = UNSET
    """"single_token_run" or "pattern_loop_len_N", N tokens."""


C = TypeVar("C", bound=Ending)


def ended(choice: C, end: Finished) -> C:
    """The same choice, with its ending explained."""
    if end.repetition is not None:
        choice.stop_reason, choice.stop_reason_detail = "repetition_detected", end.repetition
    return choice


class PromptTokensDetails(Struct):
    cached_tokens: int


class CompletionTokensDetails(Struct):
    reasoning_tokens: int = 0
    """No reasoning parser splits any off yet: all of them count as text."""


class Usage(Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


def usage_of(tally: Tally) -> Usage:
    return Usage(
        prompt_tokens=tally.prompt_tokens,
        completion_tokens=tally.completion_tokens,
        total_tokens=tally.prompt_tokens + tally.completion_tokens,
        prompt_tokens_details=PromptTokensDetails(tally.cached_tokens),
        completion_tokens_details=CompletionTokensDetails(),
    )
