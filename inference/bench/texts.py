"""Texts: how soon the first token comes, and how fast the others follow."""

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

from inference.bench.runs import Run, mean, measured, p95
from inference.direct import LanguageModel

QUESTIONS = (
    "What is 12 + 7?",
    "Write a few sentences about a lighthouse in a storm.",
    "Explain how rain comes about, as you would to a child.",
    "Name ten things that a cook needs, and say what for.",
    "What would you ask somebody who has come back from a long journey?",
)
WORDS = (
    "river", "stone", "lamp", "winter", "paper", "garden", "road", "music", "window", "bread", "letter", "horse",
    "cloud", "table", "silver", "island", "story", "morning", "bridge", "orange",
)  # fmt: skip
LENGTHS = (8, 40, 120, 300, 20)
"""Words before the question."""


def texts(model: LanguageModel, options: Any, advance: Callable[[], None]) -> tuple[list[Run], dict[str, Any]]:
    """The answers, and what they come to. advance: called after each."""

    def ask(number: int) -> Run:
        run = measured(
            lambda: model.stream_chat(
                conversation(number), max_tokens=options.max_tokens, temperature=options.temperature, seed=number
            ),
            prompt=number,
        )
        advance()
        return run

    for number in range(options.warmup):
        ask(-1 - number)
    began = perf_counter()
    together = threading.Barrier(min(options.concurrency, options.prompts))
    with ThreadPoolExecutor(together.parties, initializer=together.wait) as pool:
        runs = list(pool.map(ask, range(options.prompts)))
    return runs, summary(runs, perf_counter() - began)


def conversation(number: int) -> list[dict[str, str]]:
    """No two begin alike, so that nothing of one is found in the cache for another."""
    draw = random.Random(number)
    words = " ".join(draw.choices(WORDS, k=LENGTHS[number % len(LENGTHS)]))
    return [{"role": "user", "content": f"{words} {QUESTIONS[number % len(QUESTIONS)]}".strip()}]


def summary(runs: list[Run], seconds: float) -> dict[str, Any]:
    read, written = sum(run.prompt_tokens for run in runs), sum(run.completion_tokens for run in runs)
    first = [run.first_token * 1e3 for run in runs]
    apart = [run.per_token * 1e3 for run in runs if run.per_token is not None]
    rates = [1e3 / each for each in apart if each]
    reading = [run.prompt_tokens / run.first_token for run in runs]
    latency = [run.seconds for run in runs]
    return {
        "runs": len(runs),
        "prompt_tokens": read,
        "completion_tokens": written,
        "seconds": seconds,
        "ttft_ms": {"mean": mean(first), "p95": p95(first)},
        "tpot_ms": {"mean": mean(apart), "p95": p95(apart)},
        "generation_tokens_per_second": {"mean": mean(rates), "max": max(rates, default=None)},
        "processing_tokens_per_second": {"mean": mean(reading)},
        "latency_s": {"mean": mean(latency), "p95": p95(latency)},
        "total_tokens_per_second": (read + written) / seconds,
        "requests_per_second": len(runs) / seconds,
    }
