"""The log-probabilities of prompts: what a model thinks of a text that it did not write."""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from inference.engine.output import End, Output
from inference.engine.roster import Roster
from inference.engine.sampling import TokenLogprobs
from inference.engine.sampling.logprobs import Logprobs
from inference.engine.sequence import Sequence

log = logging.getLogger(__name__)

CHUNK = 256
"""Positions whose logits are there at once: with a large vocabulary these are a hundred megabytes."""


class Scoring:
    """Prompts whose log-probabilities are wanted: they are computed a chunk at a time, between the steps of others, and
    only then the sequence is queued. The step thread's."""

    def __init__(self, model: Any, roster: Roster, output: Output):
        self._model = model
        self._roster = roster
        self._output = output
        self._waiting: deque[tuple[Sequence, Iterator[list[TokenLogprobs]]]] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, sequence: Sequence) -> None:
        self._waiting.append((sequence, score(self._model, sequence.prompt, sequence.sampling.logprobs or 0)))

    def cancel(self, wanted: Callable[[Sequence], bool]) -> None:
        for sequence in [each for each, _ in self._waiting if wanted(each)]:
            self._output.put(End(sequence, "cancelled"))
        self._waiting = deque(item for item in self._waiting if not wanted(item[0]))

    def step(self) -> None:
        """Another chunk of the first one."""
        if not self._waiting:
            return
        sequence, chunks = self._waiting[0]
        assert sequence.scored is not None
        try:
            chunk = next(chunks, None)
        except Exception as error:
            self._waiting.popleft()
            log.error("the prompt of request %s can't be scored: %s", sequence.id, type(error).__name__)
            self._roster.refuse(sequence, "engine_error", "The engine failed on this request.")
            return
        if chunk is not None:
            sequence.scored += chunk
        else:
            self._waiting.popleft()
            self._roster.add(sequence)


def score(model: Any, tokens: list[int], count: int) -> Iterator[list[TokenLogprobs]]:
    """Of every token but the first, which nothing comes before, and the `count` likeliest in its place. Computed in
    chunks, one for each turn of the iterator, with the model's own caches: nothing is shared with any batch."""
    caches = make_prompt_cache(model)
    for start in range(0, len(tokens) - 1, CHUNK):
        fed = tokens[start : start + CHUNK]
        following = tokens[start + 1 : start + CHUNK + 1]
        logits = model(mx.array(fed, mx.int32)[None], cache=caches)[0, : len(following)].astype(mx.float32)
        places = list(range(len(following)))
        told = Logprobs(places, [count] * len(places), logits, mx.array(following, mx.int32))
        mx.eval(told.arrays())
        records = told.records()
        yield [records[place] for place in places]
