"""`make bench`: the engine through HTTP (keys, ledger and all) beside the same engine asked directly.

Both are asked from this process in turns, with the same requests of a fixed length, and the CPU of everyone involved
is counted. `--json FILE` keeps the figures.
"""

import argparse
import asyncio
import json
import os
import platform
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter

import psutil
from rich.console import Console
from rich.table import Table

from inference.client import EngineClient
from inference.sources import BUILTIN_FOLDER
from tests.benchmarks.loads import DirectLoad, HttpLoad
from tests.support.server import Server

MODEL = "atelier-tiny"
PROMPT = "Count from 1 to 50."
STREAMS = (1, 8, 32)


def never_ends() -> dict[int, float]:
    """A bias against every special token: each answer then has exactly max_tokens tokens."""
    content = json.loads((BUILTIN_FOLDER / MODEL / "tokenizer.json").read_text())
    return {token["id"]: -100.0 for token in content["added_tokens"] if token["special"]}


@dataclass
class Round:
    seconds: float
    tokens: int
    cpu: dict[str, float]
    """CPU seconds of each process."""


@dataclass
class Figures:
    """What one way of asking reached at one number of streams; medians over the rounds."""

    streams: int
    way: str
    rounds: list[Round] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return median(each.tokens / each.seconds for each in self.rounds)

    def cpu_per_token(self, who: str) -> float:
        """Microseconds."""
        return sum(each.cpu[who] for each in self.rounds) / sum(each.tokens for each in self.rounds) * 1e6


class Bench:
    def __init__(self, server: Server, direct: DirectLoad, http: HttpLoad, tokens: int, rounds: int):
        self._ways = {"engine": direct, "HTTP": http}
        self._tokens = tokens
        self._rounds = rounds
        self._processes = {
            "gateway": server.child("gateway"),
            "engine": server.child("inference.engine"),
            "load": psutil.Process(),
        }

    async def throughput(self, streams: int) -> list[Figures]:
        figures = {way: Figures(streams, way) for way in self._ways}
        for number in range(-1, self._rounds):
            for way, load in self._ways.items():
                done = await self._round(load, streams)
                if number >= 0:  # the first round warms up
                    figures[way].rounds.append(done)
        return list(figures.values())

    async def first_token(self, samples: int) -> dict[str, float]:
        """Median milliseconds to the first text, one request at a time."""
        times: dict[str, list[float]] = {way: [] for way in self._ways}
        for _ in range(samples):
            for way, load in self._ways.items():
                times[way].append((await load.ask(2)).first * 1e3)
        return {way: median(each) for way, each in times.items()}

    async def _round(self, load: DirectLoad | HttpLoad, streams: int) -> Round:
        before = self._cpu()
        began = perf_counter()
        answers = await asyncio.gather(*(load.ask(self._tokens) for _ in range(streams)))
        seconds = perf_counter() - began
        cpu = {name: after - before[name] for name, after in self._cpu().items()}
        return Round(seconds, sum(answer.tokens for answer in answers), cpu)

    def _cpu(self) -> dict[str, float]:
        times = {name: process.cpu_times() for name, process in self._processes.items()}
        return {name: each.user + each.system for name, each in times.items()}


async def run(server: Server, options: argparse.Namespace) -> dict[str, object]:
    client = EngineClient(f"bench-{os.getpid()}")
    endpoint = server.run("shell", "--no-imports", "-c", PRINT_ENDPOINT).strip().splitlines()[-1]
    await client.wait_ready(endpoint, 10)
    bias = never_ends()
    http = HttpLoad(server.port, server.key, MODEL, PROMPT, bias)
    bench = Bench(server, DirectLoad(client, endpoint, PROMPT, bias), http, options.tokens, options.rounds)
    first = await bench.first_token(options.samples)
    figures = [each for streams in STREAMS for each in await bench.throughput(streams)]
    await client.close()
    show(first, figures)
    return {
        "machine": {"system": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()},
        "first_token_ms": first,
        "throughput": [asdict(each) | {"tokens_per_second": each.rate} for each in figures],
    }


PRINT_ENDPOINT = (
    "from inference.models import Deployment; from inference.services import endpoint_of;"
    "print(endpoint_of(Deployment.objects.first()))"
)


def show(first: dict[str, float], figures: list[Figures]) -> None:
    table = Table(
        "streams", "engine tok/s", "HTTP tok/s", "kept", "gateway µs/token", "engine µs/token", "load µs/token"
    )
    for direct, http in zip(figures[::2], figures[1::2], strict=True):
        table.add_row(
            str(direct.streams), f"{direct.rate:,.0f}", f"{http.rate:,.0f}", f"{http.rate / direct.rate:.0%}",
            *(f"{http.cpu_per_token(who):,.0f}" for who in ("gateway", "engine", "load")),
        )  # fmt: skip
    console = Console()
    console.print(table)
    console.print(
        f"First token: engine {first['engine']:.1f} ms, HTTP {first['HTTP']:.1f} ms; "
        f"the gateway adds {first['HTTP'] - first['engine']:.1f} ms (medians)."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=200, help="tokens of each answer")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each number of streams")
    parser.add_argument("--samples", type=int, default=40, help="requests for the first token")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Server(Path(folder)) as server:
        figures = asyncio.run(run(server, options))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
