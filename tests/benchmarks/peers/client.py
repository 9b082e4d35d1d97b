"""The load, in a process of its own: `python -m tests.benchmarks.peers.client < plan.json > streams.json`.

Only the standard library, and while it measures it only notes when which bytes came: they are taken apart afterwards.
So it costs every contestant the same and little.

A plan is {"port", "key", "model", "in_flight", "seconds", "requests": [{"messages", "max_tokens"}], "probes"}.
Probes are sent at once when the first requests have streamed for a while, and the requests are cut off when all probes
are answered.
"""

import asyncio
import json
import sys
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any

SETTLED_PIECES = 12
"""A request streams for a while once so many pieces with text have come."""


@dataclass
class Stream:
    """How one request went. Times are seconds since the plan began."""

    sent: float = 0.0
    ended: float = 0.0
    times: list[float] = field(default_factory=list)
    """When each piece of text came."""
    words: list[int] = field(default_factory=list)
    """Words in each piece."""
    completion_tokens: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    whole: bool = False
    """It was answered to the end."""
    cut: bool = False
    """We went away."""
    error: str = ""


class Asking:
    """One request under way."""

    def __init__(self, plan: dict[str, Any], request: dict[str, Any]):
        self._plan = plan
        self._request = request
        self._reads: list[tuple[float, bytes]] = []
        self._pieces = 0
        self.settled = asyncio.Event()
        self.stream = Stream()

    async def run(self, began: float) -> None:
        body = json.dumps(
            {
                "model": self._plan["model"],
                "messages": self._request["messages"],
                "max_tokens": self._request["max_tokens"],
                "temperature": 0,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        ).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            f"Authorization: Bearer {self._plan['key']}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        self._began = began
        self.stream.sent = perf_counter() - began
        writer = None
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._plan["port"], limit=1 << 20)
            writer.write(head + body)
            while data := await reader.read(1 << 16):
                self._reads.append((perf_counter() - began, data))
                self._pieces += b'"content":' in data
                if self._pieces >= SETTLED_PIECES:
                    self.settled.set()
                if b"[DONE]" in data:
                    break
        except OSError as error:
            self.stream.error = f"{type(error).__name__}: {error}"
        except asyncio.CancelledError:
            self.stream.cut = True
            raise
        finally:
            self.stream.ended = perf_counter() - began
            self.settled.set()
            if writer is not None:
                writer.close()

    def read(self, late: str) -> Stream:
        """Takes apart what came. `late` is why it was cut off, where time was up."""
        try:
            take_apart(self._reads, self.stream)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            self.stream.error = self.stream.error or f"not a stream of completion chunks: {error!r}"
        if not self.stream.whole and not self.stream.error:
            self.stream.error = late if late or self.stream.cut else "the stream broke off"
        return self.stream


def take_apart(reads: list[tuple[float, bytes]], stream: Stream) -> None:
    """Fills in the stream from what came and when. Raises ValueError and the like for what is not HTTP or JSON."""
    pending, head, chunked = b"", None, False
    dechunked = Dechunked()
    for when, data in reads:
        if head is None:
            pending += data
            if b"\r\n\r\n" not in pending:
                continue
            head, data = pending.split(b"\r\n\r\n", 1)
            pending = b""
            chunked = b"transfer-encoding: chunked" in head.lower()
        pending += dechunked.feed(data) if chunked else data
        pending = pending.replace(b"\r\n", b"\n")
        *events, pending = pending.split(b"\n\n")
        for event in events:
            take_event(event, when, stream)
    if head is None or b" 200 " not in head.split(b"\r\n", 1)[0] + b" ":
        stream.error = ((head or b"no answer").split(b"\r\n", 1)[0] + b" " + pending[-300:]).decode(errors="replace")
        stream.whole = False


def take_event(event: bytes, when: float, stream: Stream) -> None:
    for line in event.split(b"\n"):
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            stream.whole = True
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            stream.error = json.dumps(chunk["error"])[:300]
            continue
        if usage := chunk.get("usage"):
            stream.completion_tokens = usage["completion_tokens"]
            stream.prompt_tokens = usage["prompt_tokens"]
            stream.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            if text := delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning"):
                stream.times.append(when)
                stream.words.append(len(text.split()))


class Dechunked:
    """The content of a chunked body, fed in pieces of any size."""

    def __init__(self) -> None:
        self._rest = b""
        self._left = -1
        """Bytes of the current chunk still to come, its line end included; -1 before its size is known."""

    def feed(self, data: bytes) -> bytes:
        self._rest += data
        content = b""
        while self._rest:
            if self._left < 0:
                line, found, after = self._rest.partition(b"\r\n")
                if not found:
                    break
                self._rest, self._left = after, int(line.split(b";")[0], 16) + 2
            part, self._rest = self._rest[: self._left], self._rest[self._left :]
            self._left -= len(part)
            content += part
            if self._left == 0:
                content, self._left = content[:-2], -1
            elif self._left == 1:
                # The line end is torn apart: keep the half of it that came for the next piece.
                content, self._rest, self._left = content[:-1], part[-1:], 2
                break
        return content


async def follow(plan: dict[str, Any]) -> list[Stream]:
    """All requests, so many in flight, then the probes if there are any."""
    began = perf_counter()
    requests = [Asking(plan, request) for request in plan["requests"]]
    places = asyncio.Semaphore(plan["in_flight"])

    async def take_place(asking: Asking) -> None:
        async with places:
            await asking.run(began)

    tasks = [asyncio.create_task(take_place(asking)) for asking in requests]
    probes = [Asking(plan, probe) for probe in plan.get("probes") or ()]
    late = ""
    try:
        async with asyncio.timeout(plan["seconds"]):
            if probes:
                for asking in requests[: plan["in_flight"]]:
                    await asking.settled.wait()
                await asyncio.gather(*(probe.run(began) for probe in probes))
            else:
                await asyncio.gather(*tasks)
    except TimeoutError:
        late = f"not answered after {plan['seconds']} s"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return [asking.read(late) for asking in [*requests, *probes]]


if __name__ == "__main__":
    json.dump([asdict(stream) for stream in asyncio.run(follow(json.load(sys.stdin)))], sys.stdout)
