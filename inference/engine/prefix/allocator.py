"""Which blocks of the pool are free, handed out as few, long runs: a run is copied as one slice, a gather is not.

Free runs are kept by their first and their last block, which joins neighbours in constant time, and in bins by the
power of two of their length (segregated fit, as in TLSF), which finds a run that fits without a search.
"""

from collections import OrderedDict
from collections.abc import Iterable

LOOK = 8
"""Runs of the bin that may or may not fit which are tried before one is cut that surely fits."""


class Allocator:
    """Block numbers 0 … capacity - 1. Constant time per run handed out and per block given back."""

    def __init__(self, capacity: int, used: Iterable[int] = ()):
        self.capacity = capacity
        self.free = 0
        """Blocks, not runs."""
        self._used = bytearray(b"\x01" * capacity)
        self._length: dict[int, int] = {}
        """First block of each free run: its length."""
        self._first: dict[int, int] = {}
        """Last block of each free run: its first."""
        self._bins: list[OrderedDict[int, None]] = []
        """Ordered dicts, for the first key of a dict that has lost many is found only by walking over the gaps."""
        edge = 0
        for block in [*sorted(used), capacity]:
            self._give(edge, block - edge)
            edge = block + 1

    def allocate(self, count: int, after: int | None = None) -> list[range]:
        """`count` blocks in as few runs as can be, the first one right behind block `after` where that is free.

        Raises ValueError when fewer are free.
        """
        if count > self.free:
            raise ValueError(f"{count} blocks were asked for and {self.free} are free.")
        runs = []
        if count and after is not None and after + 1 in self._length:
            runs.append(self._take(after + 1, count))
            count -= len(runs[0])
        while count:
            runs.append(self._take(self._fit(count), count))
            count -= len(runs[-1])
        return runs

    def release(self, block: int) -> None:
        """Raises ValueError when it is free already or not of this pool."""
        if not 0 <= block < self.capacity or not self._used[block]:
            raise ValueError(f"Block {block} is not in use.")
        self._give(block, 1)

    def grow(self, capacity: int) -> None:
        """The pool has more blocks, at its end. Raises ValueError when it has fewer."""
        if capacity < self.capacity:
            raise ValueError(f"The pool has {self.capacity} blocks and can't grow to {capacity}.")
        edge, self.capacity = self.capacity, capacity
        self._used.extend(b"\x01" * (capacity - edge))
        self._give(edge, capacity - edge)

    def runs(self) -> list[range]:
        """The free runs, in no order."""
        return [range(first, first + length) for first, length in self._length.items()]

    def _fit(self, count: int) -> int:
        """First block of a run that holds `count`; of one of the longest, when none does."""
        exact = count.bit_length() - 1
        if exact < len(self._bins):
            for first, _ in zip(self._bins[exact], range(LOOK), strict=False):
                if self._length[first] >= count:
                    return first
        for larger in self._bins[exact + 1 :]:
            if larger:
                return next(iter(larger))
        longest = next(bin for bin in reversed(self._bins) if bin)
        return next(iter(longest))

    def _take(self, first: int, count: int) -> range:
        """The first `count` blocks of a free run, or all of a shorter one."""
        length = self._remove(first)
        count = min(count, length)
        if length > count:
            self._add(first + count, length - count)
        self._used[first : first + count] = b"\x01" * count
        self.free -= count
        return range(first, first + count)

    def _give(self, first: int, length: int) -> None:
        if not length:
            return
        self._used[first : first + length] = bytes(length)
        self.free += length
        if first - 1 in self._first:
            before = self._first[first - 1]
            length += self._remove(before)
            first = before
        if first + length in self._length:
            length += self._remove(first + length)
        self._add(first, length)

    def _add(self, first: int, length: int) -> None:
        self._length[first] = length
        self._first[first + length - 1] = first
        bin = length.bit_length() - 1
        while bin >= len(self._bins):
            self._bins.append(OrderedDict())
        self._bins[bin][first] = None

    def _remove(self, first: int) -> int:
        length = self._length.pop(first)
        del self._first[first + length - 1]
        del self._bins[length.bit_length() - 1][first]
        return length
