"""The clients: each asks once, some leave before the end, and all remember what they were told."""

import asyncio
import random
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.streams import endless, events, text_of

PATIENCE_SECONDS = 60.0


@dataclass
class Told:
    """What one client knows of its request. end: "done", an error's code, "left" or "broken"."""

    id: str
    status: int = 0
    tokens: int = 0
    """Of the answer, that it received."""
    usage: dict[str, Any] | None = None
    end: str = "broken"

    def disagrees(self, rows: list[dict[str, Any]], *, engine_lived: bool) -> str | None:
        """What is wrong with the ledger's rows of this request, if anything is."""
        if len(rows) > 1:
            return f"{self.id} has {len(rows)} rows"
        if self.status == 200 and not rows:
            return f"{self.id} was answered and has no row"
        if not rows:
            return None
        row = rows[0]
        counted = (row["prompt_tokens"], row["completion_tokens"])
        if self.status != 200:
            fine = counted == (0, 0) or row["outcome"] in ("engine_error", "interrupted")
            return None if fine or not self.status else f"{self.id} was refused ({self.end}) and is charged {counted}"
        if self.usage is not None:
            said = (self.usage["prompt_tokens"], self.usage["completion_tokens"])
            return None if counted == said else f"{self.id} was told {said}, the ledger says {counted}"
        if self.end == "engine_error":
            fine = row["completion_tokens"] == self.tokens and row["outcome"] == "engine_error"
            return None if fine else f"{self.id} received {self.tokens}, the ledger says {counted} ({row['outcome']})"
        if engine_lived and row["completion_tokens"] < self.tokens:
            return f"{self.id} received {self.tokens} ({self.end}), the ledger says {counted} ({row['outcome']})"
        return None


class Clients:
    """at_once: requests under way. urls: of the gateways, one of which each client picks."""

    def __init__(self, urls: list[str], keys: list[str], draw: random.Random, at_once: int) -> None:
        self._urls = urls
        self._keys = keys
        self._random = draw
        self._gate = asyncio.Semaphore(at_once)
        self._count = 0

    async def ask(self, count: int) -> list[Told]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=PATIENCE_SECONDS, limits=limits) as client:
            return await asyncio.gather(*(self._one(client, *self._drawn()) for _ in range(count)))

    def _drawn(self) -> tuple[str, str, str, dict[str, Any], int | None]:
        draw = self._random
        self._count += 1
        request = endless(
            max_tokens=draw.choice([3, 20, 60, 60, 150, 400]), stream_options={"include_usage": True},
            seed=draw.randrange(10**6),
        )  # fmt: skip
        request["messages"] = [{"role": "user", "content": "Hello! " * draw.choice([1, 1, 5, 40])}]
        leaves = draw.randrange(40) if draw.random() < 0.25 else None
        return f"chaos-{self._count}", draw.choice(self._urls), draw.choice(self._keys), request, leaves

    async def _one(
        self, client: httpx.AsyncClient, id: str, url: str, key: str, request: dict[str, Any], leaves: int | None
    ) -> Told:
        headers = {"authorization": f"Bearer {key}", "x-request-id": id}
        async with self._gate, asyncio.timeout(2 * PATIENCE_SECONDS):
            while True:
                told = Told(id)
                try:
                    await self._listen(
                        client.stream("POST", f"{url}/v1/chat/completions", json=request, headers=headers), told, leaves
                    )
                except httpx.ConnectError:
                    await asyncio.sleep(0.2)  # its gateway is being restarted
                    continue
                except httpx.TransportError:
                    pass
                return told

    async def _listen(self, stream: Any, told: Told, leaves: int | None) -> None:
        async with stream as response:
            told.status = response.status_code
            if response.status_code != 200:
                told.end = (await response.aread() and response.json())["error"]["code"]
                return
            async for line in response.aiter_lines():
                for event in events(iter([line])):
                    if event == "[DONE]":
                        told.end = "done"
                    elif "error" in event:
                        told.end = event["error"]["code"]
                    else:
                        told.tokens += len(text_of([event]))
                        told.usage = event.get("usage") or told.usage
                if leaves is not None and told.tokens > leaves:
                    told.end = "left" if told.end == "broken" else told.end
                    return
