"""Admission by memory: bytes of KV that are promised, against a budget."""

from collections.abc import Callable, Iterable

GROWTH = 256
"""Tokens of growth reserved beyond a row's present length: a decode step never waits for memory, and max_tokens,
which most answers never reach, is not paid in advance."""
SPARE = 1 / 32
"""Part of the budget that newcomers leave free for the growth of those that run: admitting to the brim would preempt
someone at the next growth."""


class Memory:
    """Who has been promised how much.

    `bytes_of(tokens)` is what a cache of so many tokens takes; it must not fall as tokens grow, and rounds up to
    capacity classes by itself. The budget is in bytes, and what is promised never exceeds it.
    """

    def __init__(self, budget: int, bytes_of: Callable[[int], int], *, growth: int = GROWTH, spare: float = SPARE):
        self.budget = budget
        self.used = 0
        self.growth = growth
        self._bytes_of = bytes_of
        self._spare = int(budget * spare)
        self._held: dict[str, tuple[int, int]] = {}

    def fits_ever(self, tokens: int) -> bool:
        """Whether a request whose cache holds this many tokens could run with the machine to itself."""
        return self._bytes_of(tokens) <= self.budget

    def longest(self) -> int:
        """The most tokens that `fits_ever`; 0 when not even one fits. At most 2**40."""
        low, high = 0, 1 << 40
        while low < high:
            middle = (low + high + 1) // 2
            if self.fits_ever(middle):
                low = middle
            else:
                high = middle - 1
        return low

    def tokens(self, id: str) -> int:
        """What it may grow to before it has to ask again."""
        return self._held[id][0]

    def has_room(self, context: int, leaving: Iterable[str] = ()) -> bool:
        """Whether a newcomer of this many tokens fits once these have left. With nobody else there, whatever fits
        at all fits."""
        gone = [self._held[id][1] for id in leaving]
        if len(gone) == len(self._held):
            return self.fits_ever(context + 1)
        left = self.budget - self._spare - self.used + sum(gone)
        return self._bytes_of(context + self.growth) <= left

    def admit(self, id: str, context: int) -> None:
        """Raises MemoryError without room."""
        if not self.has_room(context) or not self._reserve(id, context):
            raise MemoryError(f"no room for {context} tokens")

    def grow(self, id: str, length: int) -> bool:
        """Makes sure of room for one token more than `length`; False, and nothing has changed, if there is none."""
        return self._held[id][0] > length or self._reserve(id, length)

    def release(self, id: str) -> None:
        self.used -= self._held.pop(id)[1]

    def _reserve(self, id: str, length: int) -> bool:
        """For a growth step more than `length`, or for one token when that is all that is left."""
        before = self._held.get(id, (0, 0))[1]
        for tokens in (length + self.growth, length + 1):
            size = self._bytes_of(tokens)
            if self.used - before + size <= self.budget:
                self._held[id] = (tokens, size)
                self.used += size - before
                return True
        return False
