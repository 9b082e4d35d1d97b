"""A little of `make chaos`: clients leave, engine and gateways are killed, clocks jump, and the books agree."""

import asyncio
from pathlib import Path

import pytest

from tests.benchmarks.quota_chaos.run import FAULTS, chaos

PER_ROUND = 8


@pytest.mark.parametrize("way", ["SQLite", "PostgreSQL and Redis"])
def test_the_books_agree(tmp_path: Path, way: str) -> None:
    rounds = len(FAULTS)
    report = asyncio.run(chaos(way, tmp_path, requests=rounds * PER_ROUND, per_round=PER_ROUND, seed=7, say=print))
    assert report.faults == []
    done = report.figures["done"]
    assert (done["engines killed"], done["gateways killed"], done["jumps of the clock"]) == (1, 2, 2)
    assert sum(report.figures["ends"].values()) == rounds * PER_ROUND
