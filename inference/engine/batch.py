"""The running rows on the device: prefill chunks, join, decode one token each, leave."""

from typing import Any, cast

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from inference.engine.kv.rows import Rows, SingleRow, can_merge
from inference.engine.sampler import History, Sampler
from inference.engine.sequence import Sequence

METADATA_STEPS = 64
"""Caches keep offsets and paddings as lazy arrays; evaluated this often, their graphs stay short."""


class Launch:
    """A decode step under way: tokens [rows], int32, of these rows, in this order."""

    __slots__ = ("rows", "tokens")

    def __init__(self, rows: list[Sequence], tokens: mx.array):
        self.rows = rows
        self.tokens = tokens

    def wait(self) -> list[int]:
        """Blocks until the step is computed."""
        return cast(list[int], self.tokens.tolist())


class Batch:
    """All of this belongs to the one thread that made the model."""

    def __init__(self, model: Any, vocab: int):
        self.model = model
        self.vocab = vocab
        self.rows: list[Sequence] = []
        self.mergeable = can_merge(model)
        self._kv: Rows = Rows() if self.mergeable else SingleRow()
        self._inputs: mx.array | None = None
        """The token that each row is fed next, int32 [rows]."""
        self._history = History(vocab)
        self._sampler = Sampler([], vocab)
        self._launches = 0

    def prefill(self, sequence: Sequence, tokens: int) -> None:
        """Runs the prompt's next `tokens` tokens through the model into the sequence's own cache. Synchronous.

        Only the cache is evaluated: the logits of prompt positions stay lazy and are never computed.
        """
        if sequence.cache is None:
            sequence.cache = make_prompt_cache(self.model)
        if tokens == 0:
            return
        chunk = sequence.prompt[sequence.prefilled : sequence.prefilled + tokens]
        self.model(mx.array(chunk, mx.int32)[None], cache=sequence.cache)
        mx.eval([layer.state for layer in sequence.cache])
        sequence.prefilled += tokens

    def join(self, sequences: list[Sequence]) -> None:
        """Makes prefilled sequences rows; the last token of each prompt is their first input."""
        caches = [sequence.cache for sequence in sequences if sequence.cache is not None]
        self._kv.join(caches)
        first = mx.array([sequence.prompt[-1] for sequence in sequences], mx.int32)
        self._inputs = first if self._inputs is None else mx.concatenate([self._inputs, first])
        self.rows = self.rows + sequences
        for sequence in sequences:
            sequence.cache = None
        self._sampler = Sampler(self.rows, self.vocab)

    def launch(self) -> Launch:
        """Starts one decode step of every row and returns at once."""
        assert self._inputs is not None, "a batch without rows has nothing to launch"
        logits = self.model(self._inputs[:, None], cache=self._kv.layers)[:, -1, :]
        tokens = self._sampler(logits, self._history)
        self._launches += 1
        metadata = self._kv.state() if self._launches % METADATA_STEPS == 0 else []
        mx.async_eval(tokens, self._history.arrays(), metadata)  # type: ignore[no-untyped-call]
        for row in self.rows:
            row.launched += 1
        self._inputs = tokens
        return Launch(self.rows, tokens)

    def leave(self, sequences: list[Sequence]) -> None:
        """Takes rows out, finished or not."""
        gone = set(map(id, sequences))
        keep = [i for i, row in enumerate(self.rows) if id(row) not in gone]
        if len(keep) == len(self.rows):
            return
        for sequence in sequences:
            self._history.forget(sequence)
        self.rows = [self.rows[i] for i in keep]
        self._kv.keep(keep)
        self._inputs = self._inputs[mx.array(keep, mx.int32)] if keep and self._inputs is not None else None
        self._sampler = Sampler(self.rows, self.vocab)

    def clear(self) -> None:
        """Forgets every row: the way back after a step that failed."""
        for row in self.rows:
            self._history.forget(row)
        self.rows = []
        self._kv = Rows() if self.mergeable else SingleRow()
        self._inputs = None
        self._sampler = Sampler([], self.vocab)
