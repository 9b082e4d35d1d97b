"""The one place that speaks server-sent events."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self

HOLD_SECONDS = 10.0
"""How long the status line waits for the first event, so that an early failure is an HTTP error that clients can
retry; and from then on the pace of the comments that keep the line alive."""
CONTENT_TYPE = b"text/event-stream; charset=utf-8"
HEADERS = [
    (b"content-type", CONTENT_TYPE),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
DONE = b"data: [DONE]\n\n"
HEARTBEAT = b": working\n\n"


def event(data: bytes) -> bytes:
    """One event of one line: JSON has no raw line breaks."""
    return b"data: " + data + b"\n\n"


class EventStream:
    """A response of events over ASGI. Nothing leaves before the first `write` or the first heartbeat."""

    def __init__(self, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        self._send = send
        self._started = False
        self._heart: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        self._heart = asyncio.ensure_future(self._beat())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.gather(self._heart, return_exceptions=True)

    async def write(self, events: bytes, *, last: bool = False) -> None:
        """Sends these events as one chunk; from the first one on, they are sign of life enough."""
        if self._heart is not None:
            self._heart.cancel()
        await self._put(events, more_body=not last)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HOLD_SECONDS)
            await self._put(HEARTBEAT, more_body=True)

    async def _put(self, data: bytes, *, more_body: bool) -> None:
        if not self._started:
            self._started = True
            await self._send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await self._send({"type": "http.response.body", "body": data, "more_body": more_body})
