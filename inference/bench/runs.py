"""One measured answer, and what many of them come to."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from inference.direct import Stream


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds and tokens of one answer. config: what is asked, as the tables call it."""

    config: dict[str, Any]
    prompt_tokens: int
    completion_tokens: int
    first_token: float
    seconds: float

    @property
    def per_token(self) -> float | None:
        """Seconds from one token to the next; None for an answer of one."""
        after = self.completion_tokens - 1
        return (self.seconds - self.first_token) / after if after > 0 else None

    @property
    def rate(self) -> float:
        """Tokens of the answer by all of its time: a picture's encoder included."""
        return self.completion_tokens / self.seconds

    def told(self) -> dict[str, Any]:
        per_token = self.per_token
        return {
            **self.config,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "ttft_ms": self.first_token * 1e3,
            "tpot_ms": None if per_token is None else per_token * 1e3,
            "latency_s": self.seconds,
            "tokens_per_second": self.rate,
        }


def measured(ask: Callable[[], Stream], **config: Any) -> Run:
    """Asks, and reads the answer to its end."""
    began = time.perf_counter()
    first = None
    for chunk in ask():
        if first is None:
            first = time.perf_counter()
        if (answer := chunk.answer) is not None:
            seconds = time.perf_counter() - began
            # An answer without a text says all there is with its end.
            return Run(config, answer.prompt_tokens, answer.completion_tokens, first - began, seconds)
    raise AssertionError("a stream without an end")


def mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def p95(values: Sequence[float]) -> float | None:
    """The value that 95 % are not above."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1] if values else None
