"""The bytes of a request's pictures, videos and sounds, wherever they come from."""

import asyncio
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.errors import ApiError
from gateway.media import folder, refusals
from gateway.media.fetch import Fetcher
from gateway.media.rules import Kind, Rules
from gateway.media.source import Inline, Local, Remote, Source, check_together

AT_ONCE = 64
"""Fetched by one gateway at a time; the next wait."""
AT_ONCE_PER_REQUEST = 8
PIECE = 1 << 20
"""Characters of base64 that are decoded before others get their turn."""


@dataclass(frozen=True, slots=True)
class Media:
    kind: Kind
    where: str
    """The field, for errors that come later."""
    data: bytes = field(repr=False)
    coarse: bool = False
    """Of a picture: few details are enough."""


class _Allowance:
    """What all of a request's media may have together."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def take(self, size: int, where: str) -> None:
        self._left -= size
        if self._left < 0:
            raise refusals.too_large_together(where, self._most)


class MediaReader:
    """For one event loop, and for all of its requests."""

    def __init__(self, rules: Rules, fetcher: Fetcher | None = None) -> None:
        self.rules = rules
        self._fetcher = fetcher or Fetcher(rules)
        self._places = asyncio.Semaphore(AT_ONCE)

    async def read(self, sources: Sequence[Source]) -> list[Media]:
        """In the order of the sources. Raises the first ApiError of any, and gives the others up."""
        check_together(sources, self.rules)
        allowance = _Allowance(self.rules.together)
        places = asyncio.Semaphore(AT_ONCE_PER_REQUEST)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._read(source, allowance, places)) for source in sources]
        except* ApiError as errors:
            failed = errors
        else:
            return [task.result() for task in tasks]
        raise _first(failed)

    async def close(self) -> None:
        await self._fetcher.close()

    async def _read(self, source: Source, allowance: _Allowance, places: asyncio.Semaphore) -> Media:
        most = self.rules.largest[source.kind]
        match source:
            case Inline():
                data = await _decoded(source)
            case Local():
                data = await asyncio.to_thread(folder.read, source, self.rules, most)
            case Remote():
                async with places, self._places:
                    data = await self._fetcher.fetch(source, most)
        if not data:
            raise refusals.invalid(source.where, "is empty: there are no data in it")
        allowance.take(len(data), source.where)
        return Media(source.kind, source.where, data, source.coarse)


async def _decoded(source: Inline) -> bytes:
    data = bytearray()
    try:
        for at in range(0, len(source.encoded), PIECE):
            data += binascii.a2b_base64(source.encoded[at : at + PIECE], strict_mode=True)
            await asyncio.sleep(0)
    except binascii.Error:
        raise refusals.invalid(
            source.where, "is no base64: it has characters that base64 hasn't, or was cut off"
        ) from None
    return bytes(data)


def _first(failed: ExceptionGroup[ApiError]) -> ApiError:
    error = failed.exceptions[0]
    return error if isinstance(error, ApiError) else _first(error)
