"""Part of `make chaos`: 500 requests under quotas, with SQLite and with PostgreSQL and Redis. Exits with 1 where the
books do not agree."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.benchmarks.quota_chaos.run import chaos

WAYS = {"sqlite": "SQLite", "postgresql": "PostgreSQL and Redis"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--per-round", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--way", choices=WAYS, action="append", help="one only (default: both)")
    options = parser.parse_args()
    console = Console(soft_wrap=True)
    found = 0
    for way in options.way or WAYS:
        with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
            work = chaos(
                WAYS[way],
                Path(folder),
                requests=options.requests,
                per_round=options.per_round,
                seed=options.seed,
                say=lambda line: console.print(line, style="dim"),
            )
            report = asyncio.run(work)
        console.print(f"{report.way}: {report.requests} requests in {report.seconds:.0f} s: {report.figures}")
        for fault in report.faults:
            console.print(f"[red]{fault}[/red]")
        console.print("[red]Not clean.[/red]" if report.faults else "Clean: nothing is left, the books agree.")
        found += len(report.faults)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
