"""What batches may have of an engine: what people leave. A line that is refused here comes back a moment later."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from gateway import errors
from inference.engine.protocol import Stats

COME_BACK_SECONDS = 0.5
"""As often as engines say how they are."""


class IdleLanes:
    """Belongs to one event loop: counts the lines of batches that this gateway has in each engine."""

    def __init__(self) -> None:
        self._lines: Counter[str] = Counter()

    @contextmanager
    def line(self, engine: str, stats: Stats | None) -> Iterator[None]:
        """One more, as long as this lasts. stats: the engine's last heartbeat; None where there was none yet.

        While the engine serves others, only one line runs beside them; while others wait, none begins. What runs
        already is left to the scheduler, which takes its row where that is needed. Raises ApiError.
        """
        others = 0 if stats is None else stats.running + stats.waiting - stats.batch
        if others > 0 and (self._lines[engine] or (stats is not None and stats.waiting)):
            raise errors.overloaded("Batches wait while others are served.", COME_BACK_SECONDS)
        self._lines[engine] += 1
        try:
            yield
        finally:
            self._lines[engine] -= 1
