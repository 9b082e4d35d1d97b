"""What was read from the database, for as long as it may serve."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Snapshot(Generic[T]):
    """Belongs to one event loop. Events drop it; its age is for those that are lost."""

    def __init__(self, read: Callable[[], Awaitable[T]], *, max_age: float) -> None:
        """max_age: seconds."""
        self._read = read
        self._max_age = max_age
        self._read_at = float("-inf")
        self._changes = 0
        self._reading = asyncio.Lock()
        self._value: T

    async def get(self) -> T:
        """At most one read per `max_age`, however many ask."""
        async with self._reading:
            if monotonic() - self._read_at > self._max_age:
                read_at, changes = monotonic(), self._changes
                self._value = await self._read()
                # What changed while we read may have been read or not: whoever asks next reads again.
                self._read_at = read_at if changes == self._changes else float("-inf")
            return self._value

    def drop(self) -> None:
        """Whoever asks next reads anew."""
        self._changes += 1
        self._read_at = float("-inf")

    async def drop_at(self, events: AsyncIterator[Any]) -> None:
        """Drops it whenever there is an event; runs as long as there are."""
        async for _ in events:
            self.drop()
