"""What the rows with penalties have said so far, counted on the device so that no step waits for the host."""

import mlx.core as mx
import numpy as np

from inference.engine.protocol import Sampling
from inference.engine.sequence import Sequence


def has_penalty(sampling: Sampling) -> bool:
    return bool(sampling.repetition_penalty != 1 or sampling.presence_penalty or sampling.frequency_penalty)


class History:
    """One line of counts per penalised row, in a matrix that grows by doubling; lines of rows that left are reused.

    It outlives the batch's samplers: a row keeps its line, by its id, until `forget`. A row without a line begins
    from its prompt and what it has generated so far (`row.output`), so that a preempted row resumes with the same
    counts.
    """

    def __init__(self, vocab: int):
        self._vocab = vocab
        self._lines: dict[str, int] = {}
        self._free: list[int] = []
        self._counts = mx.zeros((0, vocab), mx.int32)
        """How often the answer has each token."""
        self._prompted = mx.zeros((0, vocab), mx.bool_)
        """Whether the prompt has it."""

    def lines(self, rows: list[Sequence]) -> mx.array:
        """The rows' lines, int32 [rows]; those without one begin one."""
        new = [row for row in rows if row.id not in self._lines]
        if new:
            self._begin(new)
        return mx.array([self._lines[row.id] for row in rows], mx.int32)

    def penalise(self, logits: mx.array, lines: mx.array, penalties: "Penalties") -> mx.array:
        """float32 logits [penalised, vocab] of these lines with their penalties.

        Presence and frequency count the answer's tokens, as OpenAI defines them; the repetition penalty, the
        prompt's as well (CTRL, Keskar et al. 2019, section 4.1).
        """
        counts = self._counts[lines]
        said = counts > 0
        if penalties.repeats:
            repeated = mx.where(logits > 0, logits / penalties.repetition, logits * penalties.repetition)
            logits = mx.where(said | self._prompted[lines], repeated, logits)
        if penalties.counts:
            logits = logits - (penalties.frequency * counts + penalties.presence * said)
        return logits

    def append(self, lines: mx.array, tokens: mx.array) -> None:
        """Counts one token, int32 [penalised], more on each line."""
        self._counts = self._counts.at[lines, tokens].add(1)

    def forget(self, row: Sequence) -> None:
        line = self._lines.pop(row.id, None)
        if line is not None:
            self._free.append(line)
        if not self._lines:  # nothing to keep a large matrix for
            self._free, self._counts, self._prompted = (
                [],
                mx.zeros((0, self._vocab), mx.int32),
                mx.zeros((0, self._vocab), mx.bool_),
            )

    def arrays(self) -> list[mx.array]:
        """To be evaluated with each step, or their graphs would grow with the answer."""
        return [self._counts, self._prompted] if self._lines else []

    def _begin(self, rows: list[Sequence]) -> None:
        self._grow(len(rows) - len(self._free))
        lines = [self._free.pop() for _ in rows]
        self._lines.update((row.id, line) for row, line in zip(rows, lines, strict=True))
        outputs = [self._valid(getattr(row, "output", [])) for row in rows]
        counts = np.stack([np.bincount(output, minlength=self._vocab) for output in outputs])
        prompted = np.zeros((len(rows), self._vocab), np.bool_)
        for place, row in enumerate(rows):
            prompted[place, self._valid(row.prompt)] = True
        self._counts[mx.array(lines, mx.int32)] = mx.array(counts.astype(np.int32))
        self._prompted[mx.array(lines, mx.int32)] = mx.array(prompted)

    def _grow(self, missing: int) -> None:
        if missing <= 0:
            return
        size = self._counts.shape[0]
        more = max(missing, size)
        self._counts = mx.concatenate([self._counts, mx.zeros((more, self._vocab), mx.int32)])
        self._prompted = mx.concatenate([self._prompted, mx.zeros((more, self._vocab), mx.bool_)])
        self._free += range(size + more - 1, size - 1, -1)

    def _valid(self, tokens: list[int]) -> np.ndarray:
        """Without tokens that have no logit, such as pictures' placeholders: int64."""
        array = np.asarray(tokens, np.int64)
        return array[(array >= 0) & (array < self._vocab)]


class Penalties:
    """The penalties of some rows as columns, float32 [rows, 1]."""

    def __init__(self, rows: list[Sampling]):
        self.repetition = mx.array([[s.repetition_penalty] for s in rows], mx.float32)
        self.frequency = mx.array([[s.frequency_penalty] for s in rows], mx.float32)
        self.presence = mx.array([[s.presence_penalty] for s in rows], mx.float32)
        self.repeats = any(s.repetition_penalty != 1 for s in rows)
        self.counts = any(s.frequency_penalty or s.presence_penalty for s in rows)
