"""All rows' caches on the device: rows open, prefill, join the batch, move, and close."""

from collections.abc import Iterable, Iterator
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import ArraysCache, RotatingKVCache

from inference.engine.kv import rotary, unfused
from inference.engine.kv.banks import Bank, Row, Shared
from inference.engine.kv.capacity import SMALLEST, capacity_for
from inference.engine.kv.decode import DecodeView, Step
from inference.engine.kv.layout import Layout
from inference.engine.kv.pool import Pool
from inference.engine.kv.prefill import PrefillView, UnusedView, prefill_views, private_caches

KEPT_BYTES = 64 << 20
"""An empty bank up to this size is kept for the next rows."""


class Store:
    """Everything but `views` and `advance` is for the time between steps: nothing may be under way.

    grouped: rows of several capacity classes may decode together, each class on its own (the self-test decides).
    Else they all live in one bank, which moves as a whole when a row outgrows it. mixes: prompts may prefill in the
    steps of rows that decode.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        largest: int,
        max_rows: int,
        grouped: bool,
        mixes: bool = False,
        pool: Pool | None = None,
        smallest: int = SMALLEST,
    ):
        self.layout = layout
        self.largest = largest
        """Tokens that a slot can hold at most: the model's context and the step that runs ahead."""
        self._smallest = smallest
        self.max_rows = max_rows
        self.grouped = grouped
        self.mixes = mixes
        self.pool = pool
        self.banks: list[Bank] = []
        self._states: dict[int, list[mx.array]] = {}
        """By leaf: arrays [lanes, ...] of the rows that decode."""
        self._lanes: list[Row | None] = []
        self._stepping: list[Any] = []
        """The leaves' views of the step whose graph was built last."""

    @property
    def rewinds(self) -> bool:
        """Whether a step that failed leaves nothing behind but cells to be written again."""
        return not (self.layout.rings or self.layout.states)

    @property
    def nbytes(self) -> int:
        states = sum(array.nbytes for arrays in self._states.values() for array in arrays)
        return sum(bank.nbytes for bank in self.banks) + states

    # --- one row ---------------------------------------------------------------------------------------------------

    def open(self, tokens: int, shared: Shared | None = None) -> Row:
        """A row with room for so many tokens of its own. Raises ValueError beyond the largest slot."""
        capacity = capacity_for(tokens, self.largest, self._smallest)
        if not self.grouped:
            capacity = max([capacity, *(bank.capacity for bank in self.banks)])
            self._widen(capacity)
        row = self._bank(capacity, shared).take()
        row.private = private_caches(self.layout)
        return row

    def prefill_caches(self, row: Row) -> list[Any]:
        """The model's `cache` argument for the row's next chunk."""
        return prefill_views(self.layout, row, self.pool)

    def extend(self, row: Row, tokens: int) -> None:
        """So many more of its tokens are in its caches: after a chunk by itself, before the views of a mixed step."""
        row.own += tokens

    def written(self, row: Row) -> list[mx.array]:
        """A chunk went through the model: what has to be evaluated."""
        arrays: list[mx.array] = []
        for leaf in self.layout.plain:
            arrays += (row.bank.keys[leaf], row.bank.values[leaf])
        for cache in row.private.values():
            arrays += [a for a in _held(cache) if a is not None]
        return arrays

    def takes_back(self, row: Row, length: int) -> None:
        """What `extend` was told did not come to pass: the row has so many tokens."""
        row.own = length - row.base

    def finite(self, row: Row, start: int, end: int) -> mx.array:
        """Whether what the chunk [start, end) left in the row's last leaf is numbers: a model that makes NaN has made
        it there, and nobody else should find it in the prefix cache."""
        if not self.layout.plain:
            last = max(row.private, default=None)
            held = [] if last is None else [array for array in _held(row.private[last]) if array is not None]
            return mx.isfinite(held[0]).all() if held else mx.array(True)
        leaf = self.layout.plain[-1]
        return mx.isfinite(row.bank.keys[leaf][row.slot, :, start - row.base : end - row.base]).all()

    def room(self, row: Row) -> int:
        """Decode steps until the row has to move."""
        return row.bank.capacity - row.own

    def move(self, row: Row) -> None:
        """To the next larger class."""
        capacity = capacity_for(row.bank.capacity + 1, self.largest, self._smallest)
        if self.grouped:
            old = row.bank
            self._bank(capacity, old.shared).adopt(row)
            self._drop_empty()
        else:
            self._widen(capacity)

    def close(self, row: Row, *, scrub: bool = False) -> None:
        """Frees its slot. scrub: it may hold NaN."""
        row.decoding = False
        row.private = {}
        if scrub:
            row.bank.scrub(row)
        row.bank.free(row)

    def hand_over(self, row: Row, other: Row) -> None:
        """A prefilled row's tokens from `other.base` on, and all else it has, to another row; frees the first."""
        start, end = other.base - row.base, row.own
        for leaf in self.layout.plain:
            for theirs, ours in ((row.bank.keys, other.bank.keys), (row.bank.values, other.bank.values)):
                if ours[leaf].shape[-1] and end > start:
                    part = mx.contiguous(theirs[leaf][row.slot : row.slot + 1, :, start:end])
                    mx.eval(part)
                    ours[leaf][other.slot : other.slot + 1, :, : end - start] = part
            mx.eval(other.bank.keys[leaf], other.bank.values[leaf])
        other.own = end - start
        other.committed = row.committed
        other.decoding = row.decoding
        other.private, row.private = row.private, {}
        self.close(row)

    def holds_from(self, row: Row) -> int:
        """The first token from which on every leaf of the row still holds keys and values."""
        first = row.base
        for leaf in self.layout.rings:
            cache = row.private.get(leaf)
            if cache is not None:
                held = cache.keys.shape[2] if cache.keys is not None else 0
                first = max(first, row.length - min(held, row.length))
            else:
                # One cell less than its width: an idle lane writes over its oldest.
                first = max(first, row.length - row.bank.width(leaf) + 1)
        return first

    def read(self, row: Row, leaf: int, start: int, end: int) -> Iterator[tuple[mx.array, mx.array]]:
        """Keys and values [1, heads, count, width] of the row's tokens [start, end), in one piece or two."""
        cache = row.private.get(leaf)
        if cache is not None:
            keys, values = cache._temporal_order(cache.keys), cache._temporal_order(cache.values)
            first = row.length - keys.shape[2]
            yield keys[:, :, start - first : end - first], values[:, :, start - first : end - first]
            return
        keys, values = (arrays[leaf][row.slot : row.slot + 1] for arrays in (row.bank.keys, row.bank.values))
        if not self.layout.leaves[leaf].window:
            cells = slice(start - row.base, end - row.base)
            yield keys[:, :, cells], values[:, :, cells]
            return
        width = row.bank.width(leaf)
        while start < end:
            cell = start % width
            count = min(end - start, width - cell)
            yield keys[:, :, cell : cell + count], values[:, :, cell : cell + count]
            start += count

    # --- the batch -------------------------------------------------------------------------------------------------

    def join(self, rows: list[Row]) -> None:
        """Prefilled rows decode from now on: rings go into slots, states into lanes at the next `arrange`."""
        for row in rows:
            for leaf in self.layout.rings:
                self._fill_ring(row, leaf, row.private.pop(leaf))
            row.decoding = True

    def arrange(self) -> list[Row | None]:
        """Settles which lane each row has: moves rows into holes, drops empty banks, brings the states in order."""
        for bank in self.banks:
            bank.compact()
        self._drop_empty()
        lanes: list[Row | None] = []
        for bank in self.banks:
            lanes += bank.rows[: bank.top()]
        for leaf in self.layout.states:
            self._states[leaf] = self._state_lanes(leaf, lanes)
        self._lanes = lanes
        for bank in self.banks:
            for placed in bank.rows:
                if placed is not None:
                    placed.lane = None
        for lane, row in enumerate(lanes):
            if row is not None and row.decoding:
                row.lane = lane
                row.private = {}
        mx.eval(list(self._states.values()))
        return lanes

    def views(self, only: list[Row] | None = None, spans: Iterable[tuple[Row, int]] = ()) -> list[Any]:
        """The model's `cache` argument for one step of all lanes, or of these rows in the order of `order`; and, where
        the model `mixes`, of the so many tokens by which these rows were extended."""
        spans = list(spans)
        sole = self._sole() if only is None and not spans else None
        step = Step(self.banks, self.layout, only, spans) if sole is None or self.layout.rings else None
        parts: list[Any] = []
        for leaf, spec in enumerate(self.layout.leaves):
            if sole is not None and spec.kind == "plain":
                parts.append(PrefillView(sole, leaf, self.pool))
            elif spec.per_token:
                assert step is not None
                parts.append(DecodeView(leaf, step, self.pool))
            elif spec.kind == "state":
                cache = ArraysCache(len(spec.shapes))
                cache.cache = list(self._states[leaf])
                if only is not None:
                    lanes = mx.array([row.lane for row in self.order(only)], mx.int32)
                    cache.cache = [array[lanes] for array in cache.cache]
                parts.append(cache)
            else:
                parts.append(UnusedView())
        self._stepping = parts
        return self.layout.assemble(parts)

    def _sole(self) -> Row | None:
        """The only row, where there is one with all its tokens in its slot. It needs no arrays of positions, whose
        rotary embeddings alone make a step of a small model on a CPU twice as long."""
        row = self._lanes[0] if len(self._lanes) == 1 else None
        return row if row is not None and row.decoding and row.bank.shared is None else None

    def rest(self) -> None:
        """Nobody decodes: lets go of the last step."""
        self._stepping = []
        rotary.forget()
        unfused.forget()

    def order(self, rows: list[Row]) -> list[Row]:
        """These rows in the order of their lanes in a step of theirs."""
        return [row for bank in self.banks for row in rows if row.bank is bank]

    def advance(self) -> list[mx.array]:
        """The step's graph is built: every decoding row is one token longer. Returns the arrays that it has to leave
        evaluated."""
        for row in self._lanes:
            if row is not None and row.decoding and not row.ended:
                row.own += 1
        for leaf in self.layout.states:
            self._states[leaf] = list(self._stepping[leaf].cache)
        return [array for arrays in self._states.values() for array in arrays]

    def rewind(self) -> None:
        """A step failed, and its states with it: zeros take their place until the rows are computed anew."""
        for leaf in self._states:
            spec = self.layout.leaves[leaf]
            self._states[leaf] = [
                mx.zeros((len(self._lanes), *shape), dtype)
                for shape, dtype in zip(spec.shapes, spec.dtypes, strict=True)
            ]

    # --- states ----------------------------------------------------------------------------------------------------

    def state_of(self, row: Row) -> dict[int, list[mx.array]]:
        """A copy of a row's states, wherever they are now; by leaf."""
        states: dict[int, list[mx.array]] = {}
        for leaf in self.layout.states:
            if row.lane is not None:
                arrays = [mx.contiguous(a[row.lane : row.lane + 1]) for a in self._states[leaf]]
            else:
                arrays = list(_state_arrays(self.layout, leaf, row))
            states[leaf] = arrays
        mx.eval(list(states.values()))
        return states

    def _state_lanes(self, leaf: int, lanes: list[Row | None]) -> list[mx.array]:
        """The leaf's arrays for these lanes: those of rows that stay, and of rows that join."""
        held = self._states.get(leaf)
        spec = self.layout.leaves[leaf]
        joined = []
        for index, (shape, dtype) in enumerate(zip(spec.shapes, spec.dtypes, strict=True)):
            pieces: list[mx.array] = [held[index]] if held is not None else []
            count = held[index].shape[0] if held is not None else 0
            order = []
            for row in lanes:
                if row is not None and row.lane is not None and held is not None:
                    order.append(row.lane)
                    continue
                fresh = None if row is None else _state_arrays(self.layout, leaf, row)[index]
                pieces.append(mx.zeros((1, *shape), dtype) if fresh is None else fresh)
                order.append(count)
                count += 1
            whole = pieces[0] if len(pieces) == 1 else mx.concatenate(pieces) if pieces else None
            joined.append(mx.zeros((0, *shape), dtype) if whole is None else whole[mx.array(order, mx.int32)])
        return joined

    # --- banks -----------------------------------------------------------------------------------------------------

    def _bank(self, capacity: int, shared: Shared | None) -> Bank:
        for bank in self.banks:
            if bank.capacity == capacity and bank.shared is shared:
                return bank
        bank = Bank(self.layout, capacity, shared, self.max_rows)
        self.banks.append(bank)
        self.banks.sort(key=lambda each: (each.capacity, each.shared is not None))
        return bank

    def _widen(self, capacity: int) -> None:
        """Every row moves to this class: models that are not `grouped` have one bank."""
        for bank in [bank for bank in self.banks if bank.capacity < capacity]:
            target = self._bank(capacity, None)
            for row in [row for row in bank.rows if row is not None]:
                target.adopt(row)
        self._drop_empty()

    def _drop_empty(self) -> None:
        """A small bank may wait for the next row; what is large, shared, or in the way of the only bank goes."""
        self.banks = [
            bank
            for bank in self.banks
            if not bank.empty or (self.grouped and not bank.shared and bank.nbytes <= KEPT_BYTES)
        ]

    def _fill_ring(self, row: Row, leaf: int, cache: Any) -> None:
        """The last tokens of a prefilled ring into the slot's cells, position modulo width."""
        if cache.keys is None:
            return
        width = row.bank.width(leaf)
        count = min(row.length, width)
        first = (row.length - count) % width
        for arrays, ordered in (
            (row.bank.keys, cache._temporal_order(cache.keys)),
            (row.bank.values, cache._temporal_order(cache.values)),
        ):
            if not ordered.shape[-1]:
                continue
            last = ordered[:, :, -count:]
            head = min(count, width - first)
            whole = arrays[leaf]
            whole[row.slot : row.slot + 1, :, first : first + head] = last[:, :, :head]
            if head < count:
                whole[row.slot : row.slot + 1, :, : count - head] = last[:, :, head:]
        mx.eval(row.bank.keys[leaf], row.bank.values[leaf])


def _held(cache: Any) -> list[mx.array | None]:
    if isinstance(cache, RotatingKVCache):
        return [cache.keys, cache.values]
    return list(cache.cache)


def _state_arrays(layout: Layout, leaf: int, row: Row) -> list[mx.array]:
    """A prefilling row's states; zeros where nothing went through the model yet, which is what models begin with."""
    spec = layout.leaves[leaf]
    cache = row.private.get(leaf)
    arrays = cache.cache if cache is not None else [None] * len(spec.shapes)
    return [
        mx.zeros((1, *shape), dtype) if array is None else array
        for array, shape, dtype in zip(arrays, spec.shapes, spec.dtypes, strict=True)
    ]
