"""`python -m tests.benchmarks.sampling`: what a draw costs, in ms per call, evaluated, median of several.

Rows of normal logits (standard deviation 3: flatter than a model's) through the whole `Sampler`. "Top-p partition" is
what a server runs; "top-p full sort" is what it falls back to for a row whose draw is in doubt, here for every row.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import mlx.core as mx
from rich.console import Console
from rich.table import Table

from inference.engine.protocol import Sampling
from inference.engine.sampling import History, Sampler, groups
from inference.engine.sampling.bisection import draw_by_bisection
from inference.engine.sampling.draw import uniforms
from inference.engine.sampling.truncation import Chance, Settings
from inference.engine.sequence import Request, Sequence

ROWS = (1, 32)
VOCABULARIES = (8192, 151_936)
KINDS: dict[str, dict[str, Any]] = {
    "greedy": dict(),
    "temperature only": dict(temperature=0.8),
    "min-p": dict(temperature=0.8, min_p=0.05),
    "XTC": dict(temperature=0.8, xtc_probability=0.5),
    "top-k 40": dict(temperature=0.8, top_k=40),
    "top-p partition": dict(temperature=0.8, top_p=0.95),
    "top-p full sort": dict(temperature=0.8, top_p=0.95),
    "penalties, greedy": dict(presence_penalty=0.5, frequency_penalty=0.5, repetition_penalty=1.1),
    "20 logprobs, greedy": dict(logprobs=20),
}


def timed(call: Callable[[], Any], times: int) -> float:
    """Median milliseconds of a call, after one to warm up."""
    call()
    took = []
    for _ in range(times):
        started = perf_counter()
        call()
        took.append((perf_counter() - started) * 1e3)
    return median(took)


def measure(kind: str, rows: int, vocab: int, times: int) -> tuple[float, int]:
    """Milliseconds per call, and the rows that had to be drawn twice in all calls."""
    logits = mx.random.normal((rows, vocab), key=mx.random.key(0)) * 3
    mx.eval(logits)
    # The benchmark hands over no speech: the sampler reads none.
    settings = [Sampling(seed=i, **KINDS[kind]) for i in range(rows)]
    batch = [Sequence(Request(str(i), b""), 0, [1, 2, 3], each, 10, None) for i, each in enumerate(settings)]
    sampler, history, again = Sampler(batch, vocab), History(vocab), []

    def call() -> None:
        drawn = sampler(logits, history)
        again.extend(drawn.settle())
        mx.eval(drawn.arrays(), history.arrays())
        for row in batch:
            row.launched += 1

    limit, groups.SORTED_VOCAB = groups.SORTED_VOCAB, vocab if "full sort" in kind else groups.SORTED_VOCAB
    try:
        return timed(call, times), len(again)
    finally:
        groups.SORTED_VOCAB = limit


def measure_bisection(rows: int, vocab: int, times: int) -> float:
    """The GPU's method for top-p, on whatever this is."""
    logits = mx.random.normal((rows, vocab), key=mx.random.key(0)) * 3
    settings = Settings([Sampling(temperature=0.8, top_p=0.95)] * rows, vocab)
    chance = Chance(settings, uniforms(list(range(rows)), [0] * rows), mx.zeros((vocab,), mx.bool_))
    return timed(lambda: mx.eval(draw_by_bisection(logits, chance)), times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    for rows in ROWS:
        for vocab in VOCABULARIES:
            column = figures.setdefault(f"{rows} × {vocab:,}", {})
            for kind in KINDS:
                column[kind], again = measure(kind, rows, vocab, options.times)
                if kind == "top-p partition":
                    column["… rows drawn twice, %"] = 100 * again / (rows * (options.times + 1))
            column["top-p bisection"] = measure_bisection(rows, vocab, min(options.times, 3))
    table = Table("ms per call", *figures, title=f"Sampling on {mx.default_device()}, MLX {mx.__version__}")
    for kind in next(iter(figures.values())):
        table.add_row(kind, *(f"{column[kind]:.2f}" for column in figures.values()))
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
