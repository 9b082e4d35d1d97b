"""`make bench-fairness`: a heavy user and a light one, and two heavy ones, through HTTP.

First one user's requests fill the engine and its queue, and another sends short ones: how much later their first token
comes than on an idle machine. Then two users keep the queue full, one with long prompts and short answers, one with the
opposite: how far apart what they are served is, by the scheduler's weights (a token generated counts as two of prompt).
"""

import argparse
import asyncio
import json
import random
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import httpx
from rich.console import Console

from inference.engine.scheduling.fairness import INPUT, OUTPUT
from tests.benchmarks.gateway import MODEL, never_ends
from tests.support.server import Server

HEAVY = 64
"""Requests that the heavy user has in the engine all the time; 32 of them run."""
LONG_PROMPT, LONG_ANSWER = 400, 200
SHORT_PROMPT = 40
ORDINARY = (100, 700)
"""Tokens that mean nothing special to the built-in model."""
SHAPES = {"long prompts": (700, 16), "long answers": (40, 150)}
"""Tokens of prompt and answer of the two who compete."""


@dataclass
class Served:
    """What one user has got while both had more to ask for."""

    prompt: int = 0
    output: int = 0
    pauses: list[float] = field(default_factory=list)
    """Seconds between two pieces of one stream."""

    @property
    def weighted(self) -> float:
        return INPUT * self.prompt + OUTPUT * self.output


class Users:
    def __init__(self, client: httpx.AsyncClient, keys: list[str], seed: int):
        self._client = client
        self._keys = keys
        self._random = random.Random(seed)
        self._bias = {str(token): value for token, value in never_ends().items()}
        self.served = [Served() for _ in keys]
        self.counting = False

    async def ask(self, user: int, prompt: int, answer: int) -> float:
        """Seconds to the first token. Raises RuntimeError for anything but a whole stream."""
        body: dict[str, Any] = {
            "model": MODEL, "prompt": [self._random.randrange(*ORDINARY) for _ in range(prompt)], "max_tokens": answer,
            "stream": True, "temperature": 0, "logit_bias": self._bias,
        }  # fmt: skip
        served, began, first, last = self.served[user], perf_counter(), 0.0, 0.0
        async with self._client.stream(
            "POST", "/v1/completions", json=body, headers={"Authorization": f"Bearer {self._keys[user]}"}
        ) as response:
            if response.status_code != 200:
                raise RuntimeError((await response.aread()).decode())
            async for line in response.aiter_lines():
                if not line.startswith("data: {") or not json.loads(line[6:]).get("choices"):
                    continue
                now = perf_counter()
                if self.counting:
                    served.prompt += 0 if first else prompt
                    served.output += 1
                    if last:
                        served.pauses.append(now - last)
                first, last = first or now - began, now
        if not first:
            raise RuntimeError("an answer without a token")
        return first

    async def keep_busy(self, user: int, prompt: int, answer: int) -> None:
        """HEAVY requests at once, until cancelled."""

        async def again() -> None:
            while True:
                await self.ask(user, prompt, answer)

        async with asyncio.TaskGroup() as group:
            for _ in range(HEAVY):
                group.create_task(again())

    async def light_beside_heavy(self, samples: int) -> tuple[float, float, float]:
        """Medians, in seconds: the light user's first token alone, beside the heavy one, and a step of the latter's."""
        idle = [await self.ask(0, SHORT_PROMPT, 4) for _ in range(samples + 2)][2:]
        heavy = asyncio.create_task(self.keep_busy(1, LONG_PROMPT, LONG_ANSWER))
        await asyncio.sleep(8)
        self.counting = True
        beside = []
        for _ in range(samples):
            beside.append(await self.ask(0, SHORT_PROMPT, 4))
            await asyncio.sleep(0.2)
        self.counting = False
        await stopped(heavy)
        return median(idle), median(beside), median(self.served[1].pauses)

    async def two_heavy(self, seconds: float) -> list[Served]:
        self.served = [Served() for _ in self._keys]
        tasks = [asyncio.create_task(self.keep_busy(user, *shape)) for user, shape in enumerate(SHAPES.values())]
        await asyncio.sleep(10)
        self.counting = True
        await asyncio.sleep(seconds)
        self.counting = False
        for task in tasks:
            await stopped(task)
        return self.served


async def stopped(task: asyncio.Task[None]) -> None:
    """Raises what it failed with, if it did before."""
    if not task.done():
        task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def run(server: Server, options: argparse.Namespace) -> None:
    keys = [server.key]
    server.run("createuser", "heavy")
    keys.append(server.run("createkey", "--user", "heavy", "--quiet").strip())
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=server.base_url, timeout=600, limits=limits) as client:
        users = Users(client, keys, seed=1)
        idle, beside, step = await users.light_beside_heavy(options.samples)
        served = await users.two_heavy(options.seconds)
    console = Console()
    console.print(
        f"A light user's first token, {HEAVY} long requests of another waiting and running: {beside * 1e3:.0f} ms; "
        f"idle {idle * 1e3:.0f} ms, a step {step * 1e3:.0f} ms: {(beside - step) / idle:.2f} x idle, plus a step "
        "(bound 2)."
    )
    for name, each in zip(SHAPES, served, strict=True):
        console.print(f"{name}: {each.prompt:,} tokens of prompt, {each.output:,} generated: {each.weighted:,.0f}")
    least, most = sorted(each.weighted for each in served)
    console.print(f"Difference over {options.seconds:.0f} s: {(most - least) / most:.1%} (bound 5 %).")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=15, help="short requests of the light user")
    parser.add_argument("--seconds", type=float, default=40, help="for which two heavy users are compared")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fairness-") as folder, Server(Path(folder)) as server:
        asyncio.run(run(server, options))


if __name__ == "__main__":
    main()
