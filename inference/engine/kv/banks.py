"""Slots: rows of preallocated arrays, one bank for each capacity class (and each shared prefix)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx

from inference.engine.kv.layout import Layout

FIRST_SLOTS_BYTES = 32 << 20
"""A bank begins with as many slots as fit into this, one at least, and doubles when it is full."""
FIRST_SLOTS = 8


@dataclass(slots=True, eq=False)
class Shared:
    """A prefix that several rows read where it lies in the pool, instead of each in a copy of its own.

    runs: positions [from, to) in the pool, in order; length: their tokens together.
    """

    blocks: tuple[int, ...]
    runs: tuple[tuple[int, int], ...]
    length: int


@dataclass(slots=True, eq=False)
class Row:
    """One sequence's place: a slot, and what of its caches is not in slots while it prefills."""

    bank: "Bank"
    slot: int
    own: int = 0
    """Tokens whose keys and values lie in the slot."""
    decoding: bool = False
    ended: bool = False
    """It keeps its lane until the next `arrange`, and what the step computes there is ignored."""
    poisoned: bool = False
    """What it holds is no good: NaN, or the work of a step that failed."""
    private: dict[int, Any] = field(default_factory=dict)
    """By leaf, while it prefills: mlx-lm's own caches for rings and states."""
    committed: int = 0
    """Tokens that the prefix cache has seen of it."""
    lane: int | None = None
    """Its place in the batch, while it has one."""

    @property
    def base(self) -> int:
        """Tokens of the shared prefix before those in the slot."""
        return self.bank.shared.length if self.bank.shared else 0

    @property
    def length(self) -> int:
        """Tokens whose keys and values it can read."""
        return self.base + self.own


class Bank:
    """Arrays [slots, heads, capacity, width] for keys and values of every leaf that keeps tokens.

    Writes go in place as long as nothing else holds the arrays or a view of them that is still to be computed; so
    does everything here that moves rows, and none of it may run while a step is under way.
    """

    def __init__(self, layout: Layout, capacity: int, shared: Shared | None, largest: int):
        self.layout = layout
        self.capacity = capacity
        self.shared = shared
        self._largest = largest
        self.rows: list[Row | None] = []
        self.keys: list[mx.array] = []
        self.values: list[mx.array] = []

    @property
    def slots(self) -> int:
        return len(self.rows)

    @property
    def empty(self) -> bool:
        return not any(self.rows)

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in (*self.keys, *self.values))

    def top(self) -> int:
        """Slots up to the last one that decodes: the bank's part of the batch."""
        return max((row.slot + 1 for row in self.rows if row is not None and row.decoding), default=0)

    def width(self, leaf: int) -> int:
        """Cells of a leaf in each slot. A ring never needs more than its window, and all of it behind a prefix."""
        window = self.layout.leaves[leaf].window
        if not window:
            return self.capacity
        return window if self.shared else min(window, self.capacity)

    def take(self) -> Row:
        """A row in the lowest free slot; makes room first where there is none."""
        if all(self.rows):
            self._grow()
        slot = self.rows.index(None)
        row = self.rows[slot] = Row(self, slot)
        return row

    def free(self, row: Row) -> None:
        self.rows[row.slot] = None

    def scrub(self, row: Row) -> None:
        """Zeroes a slot. NaN left in it would spoil the next row there: masked cells count nothing, but 0 times NaN
        is NaN."""
        for array in (*self.keys, *self.values):
            array[row.slot] = mx.zeros(array.shape[1:], array.dtype)
        mx.eval(self.keys, self.values)

    def compact(self) -> None:
        """Moves decoding rows from the top into free slots below, one copy each, so that the batch has no holes."""
        for slot in range(self.slots):
            if self.rows[slot] is not None or slot >= self.top():
                continue
            last = self.rows[self.top() - 1]
            assert last is not None
            self._copy(last, slot)
            self.rows[last.slot] = None
            self.rows[slot] = last
            last.slot = slot

    def adopt(self, row: Row) -> None:
        """Takes a row over from a smaller bank, with all it holds."""
        place = self.take()
        source = row.bank
        for leaf, cells in source.used(row):
            for ours, theirs in ((self.keys, source.keys), (self.values, source.values)):
                if ours[leaf].shape[-1] and cells:
                    part = mx.contiguous(theirs[leaf][row.slot : row.slot + 1, :, :cells])
                    mx.eval(part)
                    ours[leaf][place.slot : place.slot + 1, :, :cells] = part
            mx.eval(self.keys[leaf], self.values[leaf])
        source.free(row)
        row.bank, row.slot = self, place.slot
        self.rows[place.slot] = row

    def used(self, row: Row) -> Iterator[tuple[int, int]]:
        """Each leaf that keeps tokens, and how many of the slot's first cells hold any."""
        for leaf in self.layout.per_token:
            wrapped = self.layout.leaves[leaf].window and row.length > self.width(leaf)
            yield leaf, self.width(leaf) if wrapped else row.length if self.layout.leaves[leaf].window else row.own

    def _copy(self, row: Row, slot: int) -> None:
        for leaf, cells in self.used(row):
            for arrays in (self.keys, self.values):
                if arrays[leaf].shape[-1] and cells:
                    # A copy of its own first: a view of the array would make the write below copy the whole bank.
                    part = mx.contiguous(arrays[leaf][row.slot : row.slot + 1, :, :cells])
                    mx.eval(part)
                    arrays[leaf][slot : slot + 1, :, :cells] = part
                    mx.eval(arrays[leaf])

    def _grow(self) -> None:
        """Doubles the slots, leaf by leaf, so that no more than one leaf is there twice."""
        before = self.slots
        one = max(1, self.layout.row_bytes(self.capacity))
        first = max(1, min(FIRST_SLOTS, FIRST_SLOTS_BYTES // one))
        after = min(max(before * 2, first), max(self._largest, before + 1))
        for leaf, spec in enumerate(self.layout.leaves):
            width = self.width(leaf) if spec.per_token else 0
            for arrays, extent, dtype in (
                (self.keys, spec.key_width, spec.key_dtype),
                (self.values, spec.value_width, spec.value_dtype),
            ):
                fresh = mx.zeros((after, spec.heads, width, extent), dtype)
                mx.eval(fresh)
                if before:
                    if fresh.size:
                        fresh[:before] = arrays[leaf]
                        mx.eval(fresh)
                    arrays[leaf] = fresh
                else:
                    arrays.append(fresh)
        self.rows += [None] * (after - before)
