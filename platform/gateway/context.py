"""What is known of one HTTP request beside its body; made by the guard, filled in by whoever learns more."""

import re
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from gateway.errors import MOST_NAMED, ApiError

SCOPE_KEY = "atelier.request"
SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")
UNSAFE_IN_HEADER = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, slots=True)
class RateLimit:
    limit: int
    remaining: int
    ends: datetime | None
    """When all of it is there again."""

    def headers(self, name: str) -> list[tuple[str, str]]:
        seconds = 0.0 if self.ends is None else max(0.0, (self.ends - datetime.now(UTC)).total_seconds())
        values = {"limit": self.limit, "remaining": self.remaining, "reset": f"{seconds:.1f}s"}
        return [(f"x-ratelimit-{what}-{name}", str(value)) for what, value in values.items()]


@dataclass(slots=True)
class RequestContext:
    request_id: str
    """As in the `x-request-id` header: the client's own if it sent a sane one."""
    record_id: str
    """Unique, for ledger and engine: equal to `request_id` if we made that, else it with a suffix of ours."""
    started: float = field(default_factory=time.perf_counter)
    sent: float | None = None
    """When the request went to the engine."""
    engine_ms: float | None = None
    """How long the engine worked on what is answered so far, its queue included; None until it said so."""
    queue_ms: float = 0.0
    prompt_tokens: int = 0
    """As the engine counted them, and how many of them it found in its cache: known with the first token."""
    cached_tokens: int = 0
    completion_tokens: int = 0
    """That have come so far."""
    priority: str = ""
    """Its class in the engine's queue, once it was sent."""
    begun: bool = False
    """It has left the engine's queue."""
    ignored: list[str] = field(default_factory=list)
    """Parameters without effect here."""
    rate_limits: dict[str, RateLimit] = field(default_factory=dict)
    """Of "requests" and "tokens"; empty until somebody is known to ask."""
    warnings: list[str] = field(default_factory=list)
    """Limits that are nearly used up."""
    error_body: Callable[[ApiError], bytes] = lambda error: error.body()
    """How the endpoint's dialect words an error."""
    error_event: Callable[[ApiError], bytes] | None = None
    """The same at the end of a stream; None: as an event of `error_body`."""
    more_headers: list[tuple[str, str]] = field(default_factory=list)
    """What the endpoint's dialect wants in every response beside ours."""
    abandoned: Literal["disconnected", "cancelled"] | None = None
    """Why the application was cancelled, if it was: the client went away, or the server stops or was told to."""
    owner: int | None = None
    """The user whose generation it is, while it can be cancelled."""
    withdrawn: Literal["owner", "administrator"] | None = None
    """Who has cancelled it, if somebody has."""

    @classmethod
    def of_headers(cls, headers: Iterable[tuple[bytes, bytes]]) -> "RequestContext":
        given = next((value.decode("latin-1") for name, value in headers if name == b"x-request-id"), "")
        made = uuid.uuid4().hex
        if SANE_ID.fullmatch(given):
            return cls(given, f"{given}.{made[:12]}")
        return cls(f"req_{made}", f"req_{made}")

    @property
    def state(self) -> str:
        """Of a generation: "queued", "prefilling" or "decoding"."""
        return "decoding" if self.completion_tokens else "prefilling" if self.begun else "queued"

    def is_called(self, id: str) -> bool:
        """Whether a client may mean this request by that id: its `x-request-id`, or the id in its answer, which is the
        ledger's behind the dialect's prefix (`chatcmpl-…`)."""
        key = self.record_id.removeprefix("req_")
        return id in (self.request_id, self.record_id) or id.endswith((f"-{key}", f"_{key}"))

    def elapsed_ms(self) -> float:
        return (time.perf_counter() - self.started) * 1000

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of every response, as of now: call it when the first byte is about to leave."""
        total = self.elapsed_ms()
        engine = self.engine_ms
        if engine is None:
            engine = 0.0 if self.sent is None else (time.perf_counter() - self.sent) * 1000
        pairs = [
            ("x-request-id", self.request_id),
            ("openai-processing-ms", f"{total:.0f}"),
            ("x-queue-ms", f"{self.queue_ms:.1f}"),
            ("x-overhead-ms", f"{max(0.0, total - engine):.1f}"),
            *(pair for name, limit in self.rate_limits.items() for pair in limit.headers(name)),
            *self.more_headers,
        ]
        if self.warnings:
            pairs.append(("x-quota-warning", ", ".join(self.warnings)))
        if self.ignored:
            names = (UNSAFE_IN_HEADER.sub("_", name)[:64] for name in self.ignored[:MOST_NAMED])
            pairs.append(("x-ignored-parameters", ", ".join(names)))
        return [(name.encode(), value.encode("ascii")) for name, value in pairs]


def of(scope: dict[str, Any]) -> RequestContext:
    """The context that the guard put into the scope."""
    context: RequestContext = scope[SCOPE_KEY]
    return context
