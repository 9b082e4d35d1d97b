"""How long until a full engine has room for one more: a hint for those that it refuses."""

from collections import deque
from collections.abc import Callable
from time import perf_counter

REMEMBERED = 64
"""Requests whose leaving says how fast they leave now."""
SHORTEST = 0.25
LONGEST = 600.0


class Room:
    """One request that leaves makes room for one. Those refused are told to come back one after the other, at the pace
    at which others leave: called back all at once, all but one of them would be refused again.

    busy: seconds that the engine has worked, for in a night without requests none leaves. clock: seconds.
    """

    def __init__(self, busy: Callable[[], float], clock: Callable[[], float] = perf_counter):
        self._busy = busy
        self._clock = clock
        # As if one had left at the start: while none has, the next is thought to take as long as the engine has worked.
        self._left: deque[float] = deque([0.0], maxlen=REMEMBERED)
        self._promised = 0.0
        """When the last one that was refused is to come back."""

    def left(self) -> None:
        """A request has ended, however it did."""
        self._left.append(self._busy())

    def wait(self) -> float:
        """Seconds after which one that is refused now should come back."""
        now = self._clock()
        self._promised = min(max(self._promised, now) + max(self._pace(), SHORTEST), now + LONGEST)
        return self._promised - now

    def _pace(self) -> float:
        """Seconds from one that leaves to the next. A long pause since the last one counts as well."""
        return (self._busy() - self._left[0]) / len(self._left)
