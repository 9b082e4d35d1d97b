"""What the dialects' answers have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from gateway.assembled import Answer
from gateway.request_diagnostics import RequestDiagnostics
from inference.engine.protocol import Delta, Ended, Finished, Tally

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
    tier: str
    """The service tier that it was given."""
    diagnose: Callable[[Finished], RequestDiagnostics | UnsetType] = lambda end: UNSET
    """What the answer tells of how it was made, where the request asked for that."""


class Wording(Protocol):
    """How a dialect words what one request is answered: whole, or as the events of a stream, each ready to be sent."""

    def whole(self, answers: list[Answer], end: Finished) -> bytes: ...

    def opening(self) -> bytes:
        """What a stream begins with, if anything."""
        ...

    def piece(self, delta: Delta) -> bytes:
        """More of one of the answers."""
        ...

    def ended(self, end: Ended) -> bytes:
        """One of the answers is complete."""
        ...

    def closing(self, end: Finished) -> bytes:
        """All that comes after the last answer's end."""
        ...


class Ending(Struct, kw_only=True):
    """What an answer's last choice says beside OpenAI's `finish_reason`, where that alone would puzzle."""

    stop_reason: str | UnsetType = UNSET
    """"repetition_detected": the text went round in circles (--repetition-policy)."""
    stop_reason_detail: str | UnsetType = UNSET
    """"single_token_run" or "pattern_loop_len_N", N tokens."""


C = TypeVar("C", bound=Ending)


def explained(choice: C, end: Ended | None) -> C:
    """The same choice, with its ending explained."""
    if end is not None and end.repetition is not None:
        choice.stop_reason, choice.stop_reason_detail = "repetition_detected", end.repetition
    return choice


class PromptTokensDetails(Struct):
    cached_tokens: int


class CompletionTokensDetails(Struct):
    reasoning_tokens: int = 0


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
        completion_tokens_details=CompletionTokensDetails(tally.reasoning_tokens),
    )
