"""What a step hands the model: all rows, in the shape of mlx-lm's caches.

A step has one part for each bank with decoding rows. With a single part without a shared prefix the model sees
ordinary, padded keys and values. With more, attention goes through `attend` (see attention.py), part by part, so that
short rows never read the cells of long ones; and so it does with spans, the tokens of prompts in a mixed step.
"""

from collections.abc import Iterable
from typing import Any

import mlx.core as mx

from inference.engine.kv import rotary
from inference.engine.kv.attention import Altered, attention, shared_attention
from inference.engine.kv.banks import Bank, Row
from inference.engine.kv.layout import Layout
from inference.engine.kv.pool import Pool
from inference.engine.kv.span import Span


class Part:
    """One bank's share of a step: lanes [first, last). These are the bank's slots from 0, or (`only`) some of them."""

    def __init__(self, bank: Bank, first: int, layout: Layout, only: list[Row] | None = None):
        rows = bank.rows[: bank.top()] if only is None else [*only]
        self.bank = bank
        self.first = first
        self.last = first + len(rows)
        self._dense = only is None
        self._layout = layout
        own = [row.own if row is not None else 0 for row in rows]
        # MLX checks no bounds: a cell past the end is the neighbour's, another user's context.
        assert max(own) < bank.capacity, f"a row of {max(own)} tokens in slots of {bank.capacity}"
        self.high = 1 + max(row.own for row in rows if row is not None and row.decoding)
        self._even = all(length + 1 == self.high for length in own)
        self._base = bank.shared.length if bank.shared else 0
        self.slots = mx.array([row.slot for row in rows if row is not None]) if only else mx.arange(len(rows))
        self.own = mx.array(own, mx.int32)
        self.positions = self.own + self._base if self._base else self.own
        self._masks: dict[tuple[int, int | None], mx.array | None] = {}

    def read(self, leaf: int) -> tuple[mx.array, mx.array]:
        """Keys and values [rows, heads, reach, width], views of the bank's arrays."""
        keys, values = self.bank.keys[leaf], self.bank.values[leaf]
        if self._dense:
            rows = slice(0, self.last - self.first)
            return keys[rows, :, : self.reach(leaf)], values[rows, :, : self.reach(leaf)]
        return keys[self.slots][:, :, : self.reach(leaf)], values[self.slots][:, :, : self.reach(leaf)]

    def cells(self, leaf: int) -> mx.array:
        """The cell of the new token in each slot, int32 [rows]."""
        window = self._layout.leaves[leaf].window
        return self.positions % self.bank.width(leaf) if window else self.own

    def reach(self, leaf: int) -> int:
        """How many of the first cells may hold tokens once the new one is written."""
        if self._layout.leaves[leaf].window:
            return min(self.bank.width(leaf), self._base + self.high)
        return self.high

    def mask(self, leaf: int, window: int | None) -> mx.array | None:
        """Which cells each row may read, bool [rows, 1, 1, reach]; None where it is all of them."""
        width = self.bank.width(leaf) if self._layout.leaves[leaf].window else 0
        key = (width, window)
        if key not in self._masks:
            self._masks[key] = self._ring_mask(leaf, width, window) if width else self._plain_mask(window)
        return self._masks[key]

    def prefix_mask(self, window: int | None) -> mx.array | None:
        """Which tokens of the shared prefix each row may read, bool [rows, 1, 1, prefix]; None where it is all."""
        if window is None or self._base + self.high <= window:
            return None
        return mx.arange(self._base)[None, None, None] > (self.positions - window)[:, None, None, None]

    def _plain_mask(self, window: int | None) -> mx.array | None:
        cells = mx.arange(self.high)[None, None, None]
        last = self.own[:, None, None, None]
        if window is None or self._base + self.high <= window:
            return None if self._even else cells <= last
        return (cells <= last) & (cells > last - window)

    def _ring_mask(self, leaf: int, width: int, window: int | None) -> mx.array | None:
        narrow = window is not None and window < width
        if self._even and not narrow:
            return None
        cells = mx.arange(self.reach(leaf))[None, None, None]
        last = self.positions[:, None, None, None]
        # The position whose token lies in a cell once the new one is written; negative where there is none yet.
        held = last - (last - cells) % width
        mask = held >= 0
        return mask & (held > last - window) if narrow and window is not None else mask


class Step:
    """One step's lanes: those that decode, part by part, then those of the spans; and what the leaves' views share."""

    def __init__(
        self, banks: list[Bank], layout: Layout, only: list[Row] | None = None, spans: Iterable[tuple[Row, int]] = ()
    ):
        self.parts: list[Part] = []
        self.lanes: list[Row | None] = []
        for bank in banks:
            rows = bank.rows[: bank.top()] if only is None else [row for row in only if row.bank is bank]
            if rows:
                chosen = None if only is None else [row for row in rows if row is not None]
                self.parts.append(Part(bank, len(self.lanes), layout, chosen))
                self.lanes += rows
        self.spans: list[Span] = []
        for row, tokens in spans:
            self.spans.append(Span(row, self.spans[-1].last if self.spans else len(self.lanes), tokens))
        self.grouped = len(self.parts) > 1 or bool(self.spans) or any(part.bank.shared for part in self.parts)
        positions = [part.positions for part in self.parts]
        if self.spans:
            positions.append(mx.array([place for span in self.spans for place in span.positions], mx.int32))
        self.positions = positions[0] if len(positions) == 1 else mx.concatenate(positions)
        self.after = self.positions + 1
        rotary.fix(self.positions)
        self._windows: dict[int, tuple[mx.array, int | None]] = {}

    @property
    def bank(self) -> Bank:
        """One of those in the step."""
        return self.parts[0].bank if self.parts else self.spans[0].row.bank

    def stand_in(self, window: int | None) -> mx.array:
        """A mask for a grouped step: the parts have masks of their own; it only carries the window to `attend`."""
        for array, known in self._windows.values():
            if known == window:
                return array
        array = mx.ones((self.positions.size, 1, 1, 1), mx.bool_)
        self._windows[id(array)] = (array, window)
        return array

    def window_of(self, mask: Any) -> int | None:
        """Raises Altered for a mask that `stand_in` did not make. Models of mlx-vlm hand on a slice of it, which is
        another array: where there is one stand-in only, what has its shape is taken for it."""
        if mask is None:
            return None
        if (known := self._windows.get(id(mask))) is not None:
            return known[1]
        stand_ins = [*self._windows.values()]
        if len(stand_ins) == 1 and mask.shape == stand_ins[0][0].shape and mask.dtype == stand_ins[0][0].dtype:
            return stand_ins[0][1]
        raise Altered("the model makes masks of its own")


class DecodeView:
    """One leaf of all rows for one step. Quacks like mlx-lm's KVCache, with one position per row."""

    def __init__(self, leaf: int, step: Step, pool: Pool | None):
        self._leaf = leaf
        self._step = step
        self._pool = pool
        self.offset = step.positions
        self._idx = max([*(part.high - 1 for part in step.parts), *(span.positions[-1] for span in step.spans)])
        """For mlx-vlm, which would otherwise read `offset` from the device."""
        if step.grouped:
            self.attend = self._attend

    @property
    def keys(self) -> mx.array:
        return self._step.bank.keys[self._leaf]

    @property
    def values(self) -> mx.array:
        return self._step.bank.values[self._leaf]

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """keys, values [lanes, heads, 1, width] of the new tokens -> all rows' so far, padded; a grouped step reads
        them in `attend` instead, and gets its own back."""
        assert keys.shape[2] == 1, "a step has one token per lane"
        for part in self._step.parts:
            cells = part.cells(self._leaf)
            for arrays, fresh in ((part.bank.keys, keys), (part.bank.values, values)):
                if fresh.shape[-1]:
                    # By scatter into the whole array, which goes in place; through a slice it would be copied.
                    arrays[self._leaf][part.slots, :, cells] = fresh[part.first : part.last, :, 0]
        for span in self._step.spans:
            # After the parts, who write one idle token to the slots of rows that don't decode yet.
            span.write(self._leaf, keys, values)
        self.offset = self._step.after
        self._idx += 1
        if self._step.grouped:
            return keys, values
        return self._step.parts[0].read(self._leaf)

    def make_mask(self, N: int, return_array: bool = False, window_size: int | None = None) -> mx.array | None:
        if self._step.grouped:
            return self._step.stand_in(window_size)
        return self._step.parts[0].mask(self._leaf, window_size)

    def _attend(self, queries: mx.array, scale: float, mask: Any, sinks: mx.array | None) -> mx.array:
        """queries [lanes, heads, 1, width] -> [lanes, heads, 1, value width]. Raises Altered."""
        window = self._step.window_of(mask)
        answers: list[mx.array] = []
        for part in self._step.parts:
            asked = queries[part.first : part.last]
            keys, values = part.read(self._leaf)
            own = part.mask(self._leaf, window)
            shared = part.bank.shared
            if shared is not None and not part.bank.layout.leaves[self._leaf].window:
                assert self._pool is not None
                prefix = [self._pool.read(self._leaf, *run) for run in shared.runs]
                before = part.prefix_mask(window)
                answers.append(shared_attention(asked, prefix, keys, values, scale, own, before, sinks))
            else:
                answers.append(attention(asked, keys, values, scale, own, sinks))
        for span in self._step.spans:
            answers.append(span.attend(self._leaf, queries, scale, window, sinks, self._pool))
        return answers[0] if len(answers) == 1 else mx.concatenate(answers)

    def size(self) -> int:
        return self._idx

    def empty(self) -> bool:
        return False

    def is_trimmable(self) -> bool:
        return False
