"""The prefix cache's blocks on the device: one pair of arrays [1, heads, positions, width] for each leaf."""

from collections.abc import Iterator

import mlx.core as mx

from inference.engine.kv.layout import Layout, Leaf

GROUP = 32
"""Numbers that share a scale in a quantised pool."""

Packed = tuple[mx.array, ...]
"""One array as it is, or quantised numbers, scales and offsets."""


class Pool:
    """Preallocated, and grown by doubling. Nothing here may run while a step is under way: anything that holds the
    arrays or a view of them turns the next write into a copy of all of it.

    bits: 8 or 4 stores keys and values quantised, in groups of 32 numbers. Raises ValueError where a leaf's width
    is no multiple of that.
    """

    def __init__(self, layout: Layout, positions: int, *, bits: int | None = None):
        for leaf in layout.leaves:
            if bits and leaf.per_token and (leaf.key_width % GROUP or leaf.value_width % GROUP):
                raise ValueError(f"keys and values {leaf.key_width} and {leaf.value_width} wide can't be quantised")
        self._layout = layout
        self._bits = bits
        self.positions = 0
        self._keys: list[Packed] = []
        self._values: list[Packed] = []
        self.grow(positions)

    @property
    def in_place(self) -> bool:
        """Whether rows can read it where it is."""
        return self._bits is None

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for packed in (*self._keys, *self._values) for array in packed)

    def grow(self, positions: int) -> None:
        """To so many token positions, leaf by leaf, so that no more than one leaf is there twice."""
        before = self.positions
        for index, leaf in enumerate(self._layout.leaves):
            for packs, width, dtype in (
                (self._keys, leaf.key_width, leaf.key_dtype),
                (self._values, leaf.value_width, leaf.value_dtype),
            ):
                fresh = self._zeros(leaf, positions, width, dtype)
                if not before:
                    packs.append(fresh)
                    continue
                for new, old in zip(fresh, packs[index], strict=True):
                    if new.size:
                        new[:, :, :before] = old
                mx.eval(fresh)
                packs[index] = fresh
        self.positions = positions

    def read(self, leaf: int, start: int, end: int) -> tuple[mx.array, mx.array]:
        """Keys and values [1, heads, end - start, width] of these positions: views where nothing is quantised."""
        return self._unpack(self._keys[leaf], start, end), self._unpack(self._values[leaf], start, end)

    def write(self, leaf: int, start: int, keys: mx.array, values: mx.array) -> None:
        """keys, values [1, heads, tokens, width]. Lazy; `arrays` are what has to be evaluated then."""
        end = start + keys.shape[2]
        assert 0 <= start <= end <= self.positions, f"positions {start}:{end} of {self.positions}"
        for packed, fresh in ((self._keys[leaf], keys), (self._values[leaf], values)):
            if not fresh.shape[-1]:
                continue
            parts = mx.quantize(fresh, group_size=GROUP, bits=self._bits) if self._bits else (fresh,)
            for array, part in zip(packed, parts, strict=True):
                array[:, :, start:end] = part

    def raw(self, leaf: int, start: int, count: int) -> list[mx.array]:
        """These positions' arrays as they are stored, quantised or not."""
        return [array[:, :, start : start + count] for array in self.arrays(leaf)]

    def write_raw(self, leaf: int, start: int, fresh: Iterator[mx.array]) -> None:
        """Takes the next of `fresh` for each of the leaf's arrays. Raises ValueError for one that doesn't fit."""
        for array in self.arrays(leaf):
            part = next(fresh)
            if part.shape[:2] != array.shape[:2] or part.shape[3:] != array.shape[3:] or part.dtype != array.dtype:
                raise ValueError(f"a stored block has {part.shape} {part.dtype}, the pool {array.shape} {array.dtype}")
            if part.size:
                array[:, :, start : start + part.shape[2]] = part

    def arrays(self, leaf: int) -> list[mx.array]:
        return [*self._keys[leaf], *self._values[leaf]]

    def _zeros(self, leaf: Leaf, positions: int, width: int, dtype: mx.Dtype) -> Packed:
        shape = (1, leaf.heads, positions if leaf.per_token else 0)
        if self._bits and leaf.per_token:
            groups = width // GROUP
            packed: Packed = (
                mx.zeros((*shape, width * self._bits // 32), mx.uint32),
                mx.zeros((*shape, groups), dtype),
                mx.zeros((*shape, groups), dtype),
            )
        else:
            packed = (mx.zeros((*shape, width), dtype),)
        mx.eval(packed)
        return packed

    def _unpack(self, packed: Packed, start: int, end: int) -> mx.array:
        parts = [array[:, :, start:end] for array in packed]
        if not self._bits or len(parts) == 1:
            return parts[0]
        numbers, scales, offsets = parts
        whole: mx.array = mx.dequantize(numbers, scales, offsets, group_size=GROUP, bits=self._bits)
        return whole
