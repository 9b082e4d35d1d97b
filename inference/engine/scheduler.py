"""Which sequences prefill how much in the next step. Pure Python over plain records: no MLX, no clock, no I/O."""

from collections import deque
from dataclasses import dataclass

from inference.engine.sequence import Sequence

GRID = 64
"""Chunks are multiples of this: few shapes, and kernels that fill their tiles."""


class QueueFull(Exception):
    """The bounded queue has no room for another request."""


@dataclass(slots=True)
class Plan:
    """One step: every running row decodes once, and these sequences prefill so many tokens each (0: ready to join)."""

    prefill: list[tuple[Sequence, int]]
    decode: bool


class Scheduler:
    """First come, first served, over at most `max_rows` rows.

    A step's prefill is bounded so that decoding rows wait at most `max_stall` seconds for it, going by the measured
    prefill rate; without decoding rows it is one large chunk.
    """

    def __init__(self, *, max_rows: int = 32, max_waiting: int = 1024, max_stall: float = 0.1, chunk: int = 2048):
        self.max_rows = max_rows
        self.max_waiting = max_waiting
        self.max_stall = max_stall
        self.chunk = chunk
        self.waiting: deque[Sequence] = deque()
        self.prefilling: list[Sequence] = []
        self.running: list[Sequence] = []
        self._rate: float | None = None

    def __len__(self) -> int:
        return len(self.waiting) + len(self.prefilling) + len(self.running)

    def add(self, sequence: Sequence) -> None:
        """Raises QueueFull."""
        if len(self.waiting) >= self.max_waiting + self._free_rows():
            raise QueueFull
        self.waiting.append(sequence)

    def plan(self) -> Plan:
        while self.waiting and self._free_rows() > 0:
            self.prefilling.append(self.waiting.popleft())
        budget = self.budget()
        prefill: list[tuple[Sequence, int]] = []
        for sequence in self.prefilling:
            tokens = min(sequence.to_prefill, budget)
            if tokens < sequence.to_prefill and tokens == 0:
                break
            prefill.append((sequence, tokens))
            budget -= tokens
        return Plan(prefill, decode=bool(self.running))

    def budget(self) -> int:
        """Prompt tokens that the next step may prefill."""
        if not self.running:
            return self.chunk
        if self._rate is None:
            return GRID
        affordable = int(self._rate * self.max_stall) // GRID * GRID
        return max(GRID, min(self.chunk, affordable))

    def observe_prefill(self, tokens: int, seconds: float) -> None:
        """Tells the scheduler how long a chunk took; short chunks say little about the rate and are left out."""
        if tokens < GRID or seconds <= 0:
            return
        rate = tokens / seconds
        self._rate = rate if self._rate is None else 0.7 * self._rate + 0.3 * rate

    def start(self, sequences: list[Sequence]) -> None:
        """These have prefilled; they are rows of the batch from now on."""
        joined = set(map(id, sequences))
        self.prefilling = [s for s in self.prefilling if id(s) not in joined]
        self.running.extend(sequences)

    def remove(self, sequences: list[Sequence]) -> None:
        gone = set(map(id, sequences))
        self.waiting = deque(s for s in self.waiting if id(s) not in gone)
        self.prefilling = [s for s in self.prefilling if id(s) not in gone]
        self.running = [s for s in self.running if id(s) not in gone]

    def _free_rows(self) -> int:
        return max(0, self.max_rows - len(self.prefilling) - len(self.running))
