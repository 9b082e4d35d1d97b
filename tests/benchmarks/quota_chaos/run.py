"""One server, its clients, and what happens to them, in rounds: after each, what can be compared is compared."""

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import httpx

from inference.client import EngineClient
from inference.engine.protocol import Stats, Tally
from tests.benchmarks.gateway import PRINT_ENDPOINT
from tests.benchmarks.quota_chaos import MODEL
from tests.benchmarks.quota_chaos.load import Clients, Told
from tests.support.server import Server
from tests.support.services import postgresql_server, redis_server

AT_ONCE = 24
FLAGS = ("--max-num-seqs", "8", "--max-waiting", "400", "--timeout", "60")
JUMPS = (-86_400.0, -3_600.0, -50.0, 0.0, 45.0, 90.0, 4_000.0, 90_000.0, 3_000_000.0)
"""Seconds by which the gateways' clocks are off."""
FAULTS = ("none", "engine", "gateway", "clock", "gateway and clock")
REST_SECONDS = 60.0


@dataclass
class Report:
    way: str
    requests: int
    seconds: float
    faults: list[str]
    figures: dict[str, Any] = field(default_factory=dict)


class Chaos:
    def __init__(self, server: Server, clock: Path, keys: list[str], engine: EngineClient, endpoint: str, seed: int):
        self._server = server
        self._clock = clock
        self._engine = engine
        self._endpoint = endpoint
        self._random = random.Random(seed)
        self._clients = Clients(server.base_urls, keys, self._random, AT_ONCE)
        self.faults: list[str] = []
        self.ends: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        """What was done to it."""

    async def round(self, fault: str, count: int) -> None:
        """So many requests, and something that happens to them."""
        known, before = len(self._server.ledger()), await self._at_rest()
        asking = asyncio.create_task(self._clients.ask(count))
        await asyncio.sleep(self._random.uniform(0.2, 1.2))
        self._do(fault)
        told = await asking
        await self._all_back()
        after = await self._at_rest()
        rows = await asyncio.to_thread(self._server.settled, known, 0, seconds=REST_SECONDS)
        self.ends.update(each.end for each in told)
        await self._compare(fault, told, rows, before, after)

    def _do(self, fault: str) -> None:
        if fault == "engine":
            self._server.kill_engine()
            self.done["engines killed"] += 1
        if "gateway" in fault:
            victim = self._server.gateway(self._random.choice(self._server.ports))
            if victim is not None:
                victim.kill()
                self.done["gateways killed"] += 1
        if "clock" in fault:
            self._clock.write_text(str(self._random.choice(JUMPS)))
            self.done["jumps of the clock"] += 1

    async def _compare(
        self, fault: str, told: list[Told], rows: list[dict[str, Any]], before: Stats, after: Stats
    ) -> None:
        lived = fault != "engine"
        by_id: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            by_id.setdefault(row["request_id"].partition(".")[0], []).append(row)
        wrong = [each.disagrees(by_id.pop(each.id, []), engine_lived=lived) for each in told]
        self.faults += [f"{fault}: {each}" for each in wrong if each] + [f"{id} was never asked" for id in by_id]
        if lived:
            self.faults += [f"{fault}: {each}" for each in await self._against_engine(rows, before, after)]

    async def _against_engine(self, rows: list[dict[str, Any]], before: Stats, after: Stats) -> list[str]:
        """Row by row and in all, what the ledger says beside what the engine counted."""
        tallies = await self._engine.reconcile(self._endpoint, [row["request_id"] for row in rows], 10)
        faults = []
        for row in rows:
            tally = tallies.get(row["request_id"], Tally())
            # What was refused is charged to nobody: its prompt was counted, or it began and was called back at once.
            ran = Tally() if row["outcome"] == "refused" else tally
            for name in ("prompt_tokens", "cached_tokens", "completion_tokens"):
                if row[name] != getattr(ran, name):
                    faults.append(f"{row['request_id']} ({row['outcome']}): {name}: {row[name]}, engine {ran}")
        for name in ("prompt_tokens", "completion_tokens"):
            counted = getattr(after, f"charged_{name}") - getattr(before, f"charged_{name}")
            known = sum(getattr(tally, name) for tally in tallies.values())
            if counted != known:
                faults.append(f"{name}: the ledger's requests have {known}, the engine counted {counted}")
        return faults

    async def _at_rest(self) -> Stats:
        """The engine's figures once nothing runs, some heartbeats in a row."""
        until, calm = monotonic() + REST_SECONDS, 0
        while True:
            stats = self._engine.stats(self._endpoint)
            calm = calm + 1 if stats is not None and stats.running + stats.waiting == 0 else 0
            if stats is not None and calm > 3:
                return stats
            if monotonic() > until:
                raise RuntimeError(f"the engine does not come to rest: {stats}")
            await asyncio.sleep(0.3)

    async def _all_back(self) -> None:
        async with httpx.AsyncClient() as client, asyncio.timeout(REST_SECONDS):
            for url in self._server.base_urls:
                while not await is_ready(client, url):
                    await asyncio.sleep(0.1)


async def is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/health/ready")).status_code == 200
    except httpx.TransportError:
        return False


def in_server(server: Server, call: str) -> Any:
    """The JSON that a function of `books` prints there."""
    code = f"from tests.benchmarks.quota_chaos import books; books.{call}"
    said = server.run("shell", "--no-imports", "-c", code, seconds=300)
    return json.loads(said.strip().splitlines()[-1])


async def compare_standings(server: Server, keys: list[str], expected: dict[str, dict[str, float]]) -> list[str]:
    """What `/v1/key` says at every gateway, beside the ledger."""
    faults = []
    async with httpx.AsyncClient(timeout=30) as client:
        for url in server.base_urls:
            for key in keys:
                headers = {"authorization": f"Bearer {key}"}
                answer = (await client.get(f"{url}/v1/key?model={MODEL}", headers=headers)).json()
                truth = next(found for prefix, found in expected.items() if key.startswith(prefix))
                said = {
                    f"{each['metric']} {each['window'] or ''} {each['subject']}": each["used"]
                    for each in answer["limits"]
                }
                for name, used in truth.items():
                    if abs(said[name] - used) > (1.0 if name.startswith("gpu") else 0.0005):
                        faults.append(f"{url}: {name}: {said[name]} used, the ledger says {used}")
    return faults


async def chaos(
    way: str, folder: Path, *, requests: int, per_round: int, seed: int, say: Callable[[str], None]
) -> Report:
    """way: "SQLite", or "PostgreSQL and Redis" for three gateways."""
    clock = folder / "clock"
    clock.write_text("0")
    sitecustomize = str(Path(__file__).parent / "clock")
    environment = {"ATELIER_TEST_CLOCK": str(clock), "PYTHONPATH": sitecustomize}
    with ExitStack() as stack:
        if way != "SQLite":
            environment["DATABASE_URL"] = stack.enter_context(postgresql_server())
            environment["ATELIER_REDIS_URL"] = stack.enter_context(redis_server())
        gateways = 1 if way == "SQLite" else 3
        server = stack.enter_context(Server(folder / "data", *FLAGS, gateways=gateways, **environment))
        keys = in_server(server, f"build({requests})")
        engine = EngineClient(f"chaos-{os.getpid()}")
        endpoint = server.run("shell", "--no-imports", "-c", PRINT_ENDPOINT).strip().splitlines()[-1]
        await engine.wait_ready(endpoint, 10)
        run = Chaos(server, clock, keys, engine, endpoint, seed)
        began, left, number = monotonic(), requests, 0
        while left > 0:
            fault = FAULTS[number % len(FAULTS)]
            await run.round(fault, min(per_round, left))
            say(f"{way}, round {number + 1} ({fault}): {len(run.faults)} faults so far, {dict(run.ends)}")
            left, number = left - per_round, number + 1
        seconds = monotonic() - began
        clock.write_text("0")
        audit = in_server(server, "audit()")
        standings = await compare_standings(server, keys, audit["standings"])
        await engine.close()
    figures = {**audit["figures"], "ends": dict(run.ends), "done": dict(run.done)}
    return Report(way, requests, seconds, [*run.faults, *audit["faults"], *standings], figures)
