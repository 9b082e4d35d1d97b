"""How long steps take, as the scheduler is told."""

from collections.abc import Callable, Sequence
from time import perf_counter

from inference.engine.launch import Launch

Observe = Callable[[int, Sequence[tuple[int, int]], float], None]
"""Rows that decoded, chunks that were prefilled (tokens, and those before them), seconds."""


class Pace:
    """Of one step loop: `launched` and `committed` are told of each step in turn."""

    def __init__(self, observe: Observe):
        self._observe = observe
        self._launched_at = 0.0
        self._committed_at: float | None = None
        """When the last step was, while another was under way."""

    def launched(self) -> None:
        """A step is about to be."""
        self._launched_at = perf_counter()

    def overlapped(self, launch: Launch) -> None:
        """This step is committed, and the next one is under way: such steps take as long as it is from one's end to the
        next one's."""
        before, self._committed_at = self._committed_at, perf_counter()
        if before is not None:
            self._observe(len(launch.lanes), [], self._committed_at - before)

    def alone(self, launch: Launch) -> None:
        """This step is committed, and it was awaited by itself. Of one that overlapped the one before, nobody knows
        when the device began with it: backends without a queue of their own compute within the launch."""
        overlapped, self._committed_at = self._committed_at is not None, None
        if not overlapped:
            chunks = [(chunk.tokens + chunk.joins, chunk.sequence.prefilled) for chunk in launch.chunks]
            rows = len(launch.lanes) - sum(chunk.joins for chunk in launch.chunks)
            self._observe(rows, chunks, perf_counter() - self._launched_at)
