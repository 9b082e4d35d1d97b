"""One request that an engine works on, as whoever asked sees it."""

import asyncio
from collections.abc import AsyncIterator, Callable

from inference.client.errors import EngineDied
from inference.engine import protocol
from inference.engine.protocol import (
    Accepted,
    AudioDelta,
    Begun,
    Delta,
    Embedded,
    Ended,
    Failed,
    Finished,
    FirstToken,
    Ranked,
    Transcribed,
    TranscriptDelta,
)

GenerationEvent = (
    Accepted | Begun | FirstToken | Delta | Ended | Embedded | Ranked | TranscriptDelta | Transcribed | AudioDelta
    | Finished | Failed
)  # fmt: skip


class Generation:
    """One running request: an async iterator over lists of events, each list all that came since the last one.

    It ends after the list whose last event is Finished or Failed, and raises EngineDied if the engine goes away
    before. To be consumed by one task.
    """

    def __init__(self, id: str, send: Callable[[protocol.ClientMessage], None]):
        self.id = id
        self._send = send
        self._events: list[GenerationEvent] = []
        self._arrived = asyncio.Event()
        self._died = False
        self._ended = False
        self._cancelled = False

    def __aiter__(self) -> AsyncIterator[list[GenerationEvent]]:
        return self

    async def __anext__(self) -> list[GenerationEvent]:
        if self._ended:
            raise StopAsyncIteration
        if not self._events and not self._died:
            await self._arrived.wait()
        self._arrived.clear()
        events, self._events = self._events, []
        if not events:
            self._ended = True
            raise EngineDied
        self._ended = isinstance(events[-1], Finished | Failed)
        return events

    def cancel(self) -> None:
        """Asks the engine to stop. Harmless when it has ended or was cancelled before."""
        if not (self._cancelled or self._ended or self._died):
            self._cancelled = True
            self._send(protocol.Cancel(self.id))

    def proceed(self) -> None:
        """Of one that was sent to be held: it may begin."""
        if not (self._cancelled or self._ended or self._died):
            self._send(protocol.Proceed(self.id))

    async def drain(self, timeout: float) -> Finished | Failed | None:
        """The end of a cancelled request, with its true tally; None if it doesn't come within `timeout` seconds."""
        last: GenerationEvent | None = None
        try:
            async with asyncio.timeout(timeout):
                async for events in self:
                    last = events[-1]
        except (TimeoutError, EngineDied):
            return None
        return last if isinstance(last, Finished | Failed) else None

    # --- for its link ------------------------------------------------------------------------------------------------

    def push(self, event: GenerationEvent) -> None:
        """The engine has said this of it."""
        self._events.append(event)
        self._arrived.set()

    def die(self) -> None:
        """The engine has gone away."""
        self._died = True
        self._arrived.set()
