"""`make load`: many keys and streams at once over several gateways, with PostgreSQL and Redis; then the books.

Every tenth key may ask a few times only, and every tenth two times at once: their 429s are planned, any other error is
a fault. What the clients were told has to be what the ledger and the counters say, key by key. Prints a table, writes
build/load.json, and exits with 1 where something is wrong.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from statistics import median, quantiles
from time import monotonic, perf_counter
from typing import Any

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from tests.benchmarks.quota_chaos.run import compare_standings, in_server
from tests.support.server import ROOT, Server
from tests.support.services import postgresql_server, redis_server
from tests.support.streams import endless, events, text_of

FEW, AT_ONCE = 5, 2
PLANNED = {0: "insufficient_quota", 1: "rate_limit_exceeded"}
"""By a key's number modulo 10."""
FLAGS = ("--max-num-seqs", "64", "--max-waiting", "1000")
PAUSE_SECONDS = 0.5
"""After a refusal."""
COMING_SECONDS = 2.0
"""Over which the streams of a phase begin, one after another."""
OVERHEAD_MS = 15.0


@dataclass
class Phase:
    streams: int
    seconds: float = 0.0
    answers: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    overhead_ms: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)
    """Seconds of each kind of process."""

    @property
    def asked(self) -> int:
        return self.answers + sum(self.refused.values())

    def figures(self) -> dict[str, Any]:
        return {
            "streams": self.streams,
            "seconds": self.seconds,
            "answers": self.answers,
            "planned_429": dict(self.refused),
            "tokens": self.tokens,
            "tokens_per_second": self.tokens / self.seconds,
            "overhead_ms": {"median": median(self.overhead_ms), "p95": p95(self.overhead_ms)},
            "first_token_ms": {"median": median(self.first_ms), "p95": p95(self.first_ms)},
            "cpu_ms_per_request": {name: 1000 * seconds / self.asked for name, seconds in self.cpu.items()},
        }


def p95(values: list[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]


class Load:
    def __init__(self, server: Server, keys: list[str], tokens: int) -> None:
        self._server = server
        self._keys = keys
        self._tokens = tokens
        # Answers of one length, begun together, would all end in the same step, and the next requests come together:
        # no 16 people do that.
        self._lengths = random.Random(0)
        self.told: dict[str, Counter[str]] = {key: Counter() for key in keys}
        """By key, what its answers said: requests, prompt and completion tokens."""
        self.faults: list[str] = []

    async def phase(self, streams: int, seconds: float, keys: list[str]) -> Phase:
        phase = Phase(streams)
        before, began = self._cpu(), monotonic()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=streams)
        async with httpx.AsyncClient(timeout=300, limits=limits) as client, asyncio.TaskGroup() as group:
            for key, url in islice(zip(cycle(keys), cycle(self._server.base_urls), strict=False), streams):
                group.create_task(self._client(client, phase, key, url, began + seconds))
                await asyncio.sleep(COMING_SECONDS / streams)
        phase.seconds = monotonic() - began
        phase.cpu = {name: after - before[name] for name, after in self._cpu().items()}
        return phase

    async def _client(self, client: httpx.AsyncClient, phase: Phase, key: str, url: str, until: float) -> None:
        while (began := monotonic()) < until:
            try:
                await self._ask(client, phase, key, url)
            except httpx.HTTPError as error:
                after, left = monotonic() - began, until - monotonic()
                self.faults.append(f"{url}: {error!r} {after:.2f} s after asking, {left:.1f} s before the end")

    async def _ask(self, client: httpx.AsyncClient, phase: Phase, key: str, url: str) -> None:
        length = self._lengths.randint(self._tokens // 2, self._tokens * 3 // 2)
        request = endless(max_tokens=length, stream_options={"include_usage": True})
        headers = {"authorization": f"Bearer {key}"}
        began, first, usage, ended = perf_counter(), 0.0, None, False
        async with client.stream("POST", f"{url}/v1/chat/completions", json=request, headers=headers) as response:
            if response.status_code != 200:
                await response.aread()
                code = response.json()["error"]["code"]
                if response.status_code != 429 or code != PLANNED.get(self._keys.index(key) % 10):
                    self.faults.append(f"{url}: {response.status_code} {response.text}")
                phase.refused[code] += 1
                await asyncio.sleep(PAUSE_SECONDS)
                return
            async for line in response.aiter_lines():
                for event in events(iter([line])):
                    if event == "[DONE]":
                        ended = True
                        continue
                    usage = event.get("usage") or usage
                    first = first or (perf_counter() - began if text_of([event]) else 0.0)
        if not ended or usage is None:
            self.faults.append(f"{url}: a stream broke")
            return
        phase.answers += 1
        phase.tokens += usage["completion_tokens"]
        phase.overhead_ms.append(float(response.headers["x-overhead-ms"]))
        phase.first_ms.append(first * 1000)
        self.told[key].update(
            requests=1, prompt_tokens=usage["prompt_tokens"], completion_tokens=usage["completion_tokens"]
        )

    def _cpu(self) -> dict[str, float]:
        found: Counter[str] = Counter({"load": own_cpu(psutil.Process())})
        for child in self._server.children():
            command = child.cmdline()
            for name in ("gateway", "inference.engine", "worker"):
                if name in command:
                    found[name] += own_cpu(child)
        return dict(found)

    def compare(self, rows: list[dict[str, Any]]) -> list[str]:
        """What the clients were told beside the ledger, key by key."""
        ledger: dict[str, Counter[str]] = {}
        for row in rows:
            if row["outcome"] != "refused":
                figures = {name: row[name] for name in ("prompt_tokens", "completion_tokens")}
                ledger.setdefault(row["key_prefix"], Counter()).update(requests=1, **figures)
        faults = []
        for key, told in self.told.items():
            written = next((found for prefix, found in ledger.items() if key.startswith(prefix)), Counter())
            if told != written:
                faults.append(f"{key[:15]}: told {dict(told)}, the ledger says {dict(written)}")
        return faults


def own_cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def show(console: Console, phases: list[Phase]) -> None:
    table = Table(
        "streams", "answers", "planned 429", "tok/s", "overhead ms: median, p95", "first token ms: median, p95",
        "CPU ms per request: gateways, engine",
    )  # fmt: skip
    for each in (phase.figures() for phase in phases):
        overhead, first, cpu = each["overhead_ms"], each["first_token_ms"], each["cpu_ms_per_request"]
        table.add_row(
            str(each["streams"]), str(each["answers"]), str(sum(each["planned_429"].values())),
            f"{each['tokens_per_second']:,.0f}", f"{overhead['median']:.1f}, {overhead['p95']:.1f}",
            f"{first['median']:,.0f}, {first['p95']:,.0f}", f"{cpu['gateway']:.1f}, {cpu['inference.engine']:.1f}",
        )  # fmt: skip
    console.print(table)


async def measure(server: Server, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    keys = in_server(server, f"build_for_load({options.keys}, {FEW}, {AT_ONCE})")
    load = Load(server, keys, options.tokens)
    free = [key for number, key in enumerate(keys) if number % 10 not in PLANNED]
    await load.phase(6, 2, free)  # warms up
    phases = [
        await load.phase(16, options.seconds / 3, free),
        await load.phase(options.streams, options.seconds, keys),
    ]
    rows = await asyncio.to_thread(server.settled, 0, 0, seconds=60)
    audit = in_server(server, "audit()")
    faults = [*load.faults, *load.compare(rows), *audit["faults"]]
    faults += await compare_standings(server, keys, audit["standings"])
    show(console, phases)
    machine = {"system": platform.platform(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    return {
        "machine": machine,
        "gateways": len(server.ports),
        "keys": len(keys),
        "rows": len(rows),
        "phases": [phase.figures() for phase in phases],
        "overhead_is_low": p95(phases[0].overhead_ms) <= OVERHEAD_MS,
        "faults": faults,
        "audit": audit["figures"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=50)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--gateways", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--tokens", type=int, default=64, help="of an answer; from half of it to half as much again")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "load.json")
    options = parser.parse_args()
    console = Console(width=150)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="load-")))
        environment = {
            "DATABASE_URL": stack.enter_context(postgresql_server()),
            "ATELIER_REDIS_URL": stack.enter_context(redis_server()),
        }
        server = stack.enter_context(Server(folder, *FLAGS, gateways=options.gateways, **environment))
        found = asyncio.run(measure(server, options, console))
        found["log"] = [line for line in server.output.splitlines() if "ERROR" in line or "Traceback" in line]
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(found, indent=2) + "\n")
    if not found["overhead_is_low"]:
        console.print(f"[yellow]p95 of x-overhead-ms at 16 streams is above {OVERHEAD_MS:g} ms.[/yellow]")
    for fault in [*found["faults"], *found["log"]][:50]:
        console.print(f"[red]{fault}[/red]")
    console.print(f"{len(found['faults'])} faults in {found['rows']} rows; figures in {options.json}.")
    return bool(found["faults"])


if __name__ == "__main__":
    sys.exit(main())
