"""What becomes of the others when a step or a prompt fails."""

import logging
from collections.abc import Callable

import mlx.core as mx

from inference.engine.batch import Batch, NotFinite
from inference.engine.guidance.guide import NOTHING_LEFT, TOO_COMPLEX, GuideFailed
from inference.engine.isolation import culprits, is_out_of_memory
from inference.engine.output import Failure
from inference.engine.roster import Roster
from inference.engine.sequence import Sequence

log = logging.getLogger(__name__)

RETRIES = 3
"""Steps in a row that may fail although each row's works by itself. After that all of them fail."""


class Failing:
    """The step thread's. preempt: makes one wait again. prefill: tries so many tokens of a prompt by themselves."""

    def __init__(
        self,
        batch: Batch,
        roster: Roster,
        *,
        preempt: Callable[[Sequence], None],
        prefill: Callable[[Sequence, int], object],
    ):
        self._batch = batch
        self._roster = roster
        self._preempt = preempt
        self._prefill = prefill
        self._in_a_row = 0

    def step_worked(self) -> None:
        self._in_a_row = 0

    def step(self, error: Exception, prompts: list[tuple[Sequence, int]]) -> None:
        """A step of the whole batch and of these prompts failed. Those on whom it fails get an honest error; the others
        don't notice."""
        batch = self._batch
        log.error("a step of %d rows and %d prompts failed: %s: %s",
                  len(batch.rows), len(prompts), type(error).__name__, error)  # fmt: skip
        batch.rewind(prompts)
        self._in_a_row += 1
        hopeless = self._in_a_row > RETRIES
        for sequence, tokens in prompts:
            if not sequence.ended:
                self._prefill(sequence, tokens)
        batch.settle()
        rows = batch.rows
        for sequence in rows if hopeless else culprits(rows, batch.works) if rows else ():
            self._roster.fail(sequence)
        if not batch.rewinds:
            for sequence in batch.rows:
                sequence.row.poisoned = True
                self._preempt(sequence)
        batch.settle()

    def prompt(self, sequence: Sequence, error: Exception) -> None:
        """Short of memory, the newest prefill makes room, and tries again later, once."""
        if not is_out_of_memory(error):
            self._roster.fail(sequence, error)
        elif sequence.strikes:
            log.error("memory ran out on the prompt of request %s once more", sequence.id)
            self._batch.end(sequence, poisoned=True)
            message = "The engine has not enough memory for this request now. Try again, or with a shorter prompt."
            self._roster.end(Failure(sequence, "server_is_overloaded", message, self._roster.room.wait()))
        else:
            log.warning("memory ran out on the prompt of request %s; it waits and tries again", sequence.id)
            sequence.strikes += 1
            sequence.row.poisoned = True
            self._preempt(sequence)
            mx.clear_cache()


def nothing_drawn(sequence: Sequence) -> Exception:
    """Why there was nothing to draw from."""
    if sequence.guide is None or not (sequence.guide.failed or sequence.sampling.logit_bias):
        return NotFinite()
    return GuideFailed(TOO_COMPLEX if sequence.guide.failed else NOTHING_LEFT)
