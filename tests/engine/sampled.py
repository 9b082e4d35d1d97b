"""Rows without a model, and what the sampler draws for them from logits that are made up."""

from collections.abc import Iterable
from typing import Any

import mlx.core as mx

from inference.engine.protocol import Sampling
from inference.engine.sampling import History, Sampler
from inference.engine.sequence import Request, Sequence

VOCAB = 50


def row(name: str = "row", prompt: Iterable[int] = (1,), position: int = 0, **sampling: Any) -> Sequence:
    sequence = Sequence(Request(name, b""), 0, list(prompt), Sampling(**sampling), 10, None)
    sequence.launched = position
    return sequence


def logits_of(rows: int, seed: int = 0, vocab: int = VOCAB) -> mx.array:
    return mx.random.normal((rows, vocab), key=mx.random.key(seed)) * 3


def draw(rows: list[Sequence], logits: mx.array, history: History | None = None, **options: Any) -> list[int]:
    vocab = logits.shape[-1]
    drawn = Sampler(rows, vocab, **options)(logits, history or History(vocab))
    drawn.settle()
    mx.eval(drawn.arrays())
    return drawn.tokens.tolist()
