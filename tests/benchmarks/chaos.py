"""`make chaos`: many requests of several users at once, some cancelled, some broken, some poisonous; then the books.

A small model with one token whose embedding is NaN serves through the whole platform, with few rows and a small cache,
so that rows are preempted and blocks evicted all the time. Afterwards nothing may be left: no row, no block that is
still read, no memory beyond what the first fifth of the requests had taken; and the ledger must say what the engine
counted. Exits with 1 where that is not so.
"""

import argparse
import asyncio
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
import mlx.core as mx
from rich.console import Console

from inference.client import EngineClient
from inference.engine.protocol import Stats
from tests.benchmarks.gateway import PRINT_ENDPOINT
from tests.support.models_made import make_model
from tests.support.server import Server

POISON = 200
VOCABULARY = 250
"""Byte-level tokens that any prompt may hold."""
AT_ONCE = 40
USERS = 5
FLAGS = (
    "--max-num-seqs", "6", "--prefill-batch-size", "3", "--max-waiting", "400", "--max-cache-blocks", "200",
    "--timeout", "60",
)  # fmt: skip
MEMORY_GROWTH = 0.03
SETTLE_SECONDS = 20.0


def poisonous_model(folder: Path) -> Path:
    """A seeded llama in which token POISON turns everything after it into NaN."""
    make_model(folder, "llama", tie_word_embeddings=False, max_position_embeddings=4096)
    file = folder / "model.safetensors"
    weights: dict[str, Any] = mx.load(str(file))  # type: ignore[assignment]
    weights["model.embed_tokens.weight"][POISON] = float("nan")
    mx.save_safetensors(str(file), weights, metadata={"format": "mlx"})
    return folder


class Chaos:
    def __init__(self, server: Server, model: str, keys: list[str], seed: int):
        self._server = server
        self._model = model
        self._keys = keys
        self._random = random.Random(seed)
        self._prefixes = [self._tokens(self._random.randrange(40, 700)) for _ in range(6)]
        self.outcomes: Counter[str] = Counter()

    async def run(self, count: int) -> None:
        gate = asyncio.Semaphore(AT_ONCE)
        limits = httpx.Limits(max_connections=AT_ONCE)
        async with httpx.AsyncClient(base_url=self._server.base_url, timeout=120, limits=limits) as client:

            async def one(request: dict[str, Any], key: str, cancel_after: int | None) -> None:
                async with gate:
                    self.outcomes[await self._ask(client, request, key, cancel_after)] += 1

            async with asyncio.TaskGroup() as group:
                for _ in range(count):
                    cancel = self._random.randrange(0, 20) if self._random.random() < 0.25 else None
                    group.create_task(one(self._request(), self._random.choice(self._keys), cancel))

    def _request(self) -> dict[str, Any]:
        draw = self._random
        prompt = self._tokens(draw.randrange(1, 120))
        if draw.random() < 0.6:
            prompt = [*draw.choice(self._prefixes), *prompt]
        request: dict[str, Any] = {
            "model": self._model, "prompt": prompt, "stream": True, "max_tokens": draw.randrange(1, 60),
            "temperature": draw.choice([0, 0, 0.7, 1.5]), "top_p": draw.choice([1, 0.9]), "seed": draw.randrange(99),
            "presence_penalty": draw.choice([0, 0, 1.0]),
        }  # fmt: skip
        kind = draw.random()
        if kind < 0.06:
            prompt.insert(draw.randrange(len(prompt) + 1), POISON)
        elif kind < 0.09:
            request["prompt"] = self._tokens(5000)
        elif kind < 0.12:
            request["logit_bias"] = {"100000": 1}
        elif kind < 0.2:
            request["stop"] = ["a", "e"]
        return request

    def _tokens(self, count: int) -> list[int]:
        return [self._random.choice([t for t in range(5, VOCABULARY) if t != POISON]) for _ in range(count)]

    async def _ask(self, client: httpx.AsyncClient, request: dict[str, Any], key: str, cancel: int | None) -> str:
        headers = {"Authorization": f"Bearer {key}"}
        try:
            async with client.stream("POST", "/v1/completions", json=request, headers=headers) as response:
                if response.status_code != 200:
                    return f"HTTP {response.status_code}"
                seen, last = 0, ""
                async for line in response.aiter_lines():
                    if not line.startswith("data: "):
                        continue
                    last = line
                    seen += 1
                    if cancel is not None and seen > cancel:
                        return "cancelled"
                return "finished" if last == "data: [DONE]" else "error event"
        except httpx.HTTPError as error:
            return type(error).__name__


async def at_rest(client: EngineClient, endpoint: str) -> Stats:
    """The engine's figures once nothing runs, two heartbeats in a row."""
    until, calm = perf_counter() + SETTLE_SECONDS, 0
    while True:
        stats = client.stats(endpoint)
        calm = calm + 1 if stats is not None and stats.running + stats.waiting == 0 else 0
        if stats is not None and calm > 3:
            return stats
        if perf_counter() > until:
            raise SystemExit(f"the engine does not come to rest: {stats}")
        await asyncio.sleep(0.5)


def faults(before: Stats, after: Stats, records: list[dict[str, Any]]) -> list[str]:
    """What the books have against it."""
    found = []
    grown = after.memory_bytes / before.memory_bytes - 1
    if grown > MEMORY_GROWTH:
        found.append(f"memory has grown by {grown:.1%}")
    if held := after.cache["blocks_held"]:
        found.append(f"{held} blocks are still read")
    if after.cache["blocks_used"] > after.cache["blocks_total"]:
        found.append("more blocks are used than there are")
    for field, counted in (
        ("prompt_tokens", after.charged_prompt_tokens),
        ("completion_tokens", after.charged_completion_tokens),
    ):
        charged = sum(record[field] for record in records if record["engine_seconds"] > 0 or record[field])
        if charged != counted:
            found.append(f"{field}: the ledger says {charged}, the engine {counted}")
    if running := sum(record["state"] == "running" for record in records):
        found.append(f"{running} records are still running")
    return found


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as place:
        folder = poisonous_model(Path(place) / "poisonous")
        with Server(Path(place) / "data", str(folder), *FLAGS) as server:
            keys = [server.key]
            for number in range(1, USERS):
                server.run("createuser", f"user{number}")
                keys.append(server.run("createkey", "--user", f"user{number}", "--quiet").strip())
            client = EngineClient("chaos")
            endpoint = server.run("shell", "--no-imports", "-c", PRINT_ENDPOINT).strip().splitlines()[-1]
            await client.wait_ready(endpoint, 10)
            chaos = Chaos(server, "poisonous", keys, options.seed)
            await chaos.run(options.requests // 5)
            before = await at_rest(client, endpoint)
            began = perf_counter()
            await chaos.run(options.requests - options.requests // 5)
            seconds = perf_counter() - began
            after = await at_rest(client, endpoint)
            records = server.settled(0, 0)
            await client.close()
    console.print(f"{options.requests} requests, the last four fifths in {seconds:.0f} s: {dict(chaos.outcomes)}")
    console.print(
        f"preemptions {after.preemptions}, blocks evicted {after.cache['evicted']}, "
        f"tokens from the cache {after.cached_tokens:,} beside {after.prefill_tokens:,} computed"
    )
    console.print(
        f"memory {before.memory_bytes / 1e6:.2f} MB after a fifth, {after.memory_bytes / 1e6:.2f} MB at the end "
        f"(slots {before.kv_bytes / 1e6:.2f} and {after.kv_bytes / 1e6:.2f}, "
        f"pool {before.pool_bytes / 1e6:.2f} and {after.pool_bytes / 1e6:.2f}); "
        f"ledger {sum(r['completion_tokens'] for r in records):,} tokens generated, "
        f"engine {after.charged_completion_tokens:,}"
    )
    found = faults(before, after, records)
    for fault in found:
        console.print(f"[red]{fault}[/red]")
    console.print("[red]Not clean.[/red]" if found else "Clean: nothing leaked, the books agree.")
    return bool(found)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
