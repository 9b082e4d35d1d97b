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


def event(data: bytes, name: str = "") -> bytes:
    """One event of one line: JSON has no raw line breaks. OpenAI's chat names none, other dialects each."""
    named = b"event: " + name.encode() + b"\n" if name else b""
    return named + b"data: " + data + b"\n\n"


class EventStream:
    """A response of events over ASGI. Nothing leaves before the first `write` or the first heartbeat."""

    def __init__(self, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        self._send = send
        self._started = False
        self._heart: asyncio.Future[None] | None = None
        self._speaks = asyncio.Event()
        """There is nothing for the heart to do any more."""

    async def __aenter__(self) -> Self:
        self._heart = asyncio.ensure_future(self._beat())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._rest()

    async def write(self, events: bytes, *, last: bool = False) -> None:
        """Sends these events as one chunk; from the first one on, they are sign of life enough."""
        await self._rest()
        await self._put(events, more_body=not last)

    async def _rest(self) -> None:
        """Stops the heart, between two beats: half a status line would be the end of the response."""
        self._speaks.set()
        if self._heart is not None:
            heart, self._heart = self._heart, None
            await asyncio.gather(heart, return_exceptions=True)

    async def _beat(self) -> None:
        while not self._speaks.is_set():
            try:
                await asyncio.wait_for(self._speaks.wait(), HOLD_SECONDS)
            except TimeoutError:
                await self._put(HEARTBEAT, more_body=True)

    async def _put(self, data: bytes, *, more_body: bool) -> None:
        if not self._started:
            self._started = True
            await self._send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await self._send({"type": "http.response.body", "body": data, "more_body": more_body})
