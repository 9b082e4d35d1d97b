"""What a model keeps per token and per row: its caches, taken apart into leaves that the engine knows how to hold."""

from dataclasses import dataclass
from typing import Any, Literal

import mlx.core as mx
from mlx_lm.models.cache import ArraysCache, CacheList, KVCache, RotatingKVCache, make_prompt_cache

Kind = Literal["plain", "ring", "state", "unused"]
PROBE = 4
"""Tokens run through the model once, to see what its caches hold."""


class NoLayout(Exception):
    """This model keeps something that slots can't hold; the message names it."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One cache of one layer.

    plain: keys and values of every token; MLA's two arrays of different width count as such.
    ring: the same for the last `window` tokens only.
    state: arrays of a fixed size per row (SSM, linear attention, convolutions): `shapes` without the row's axis.
    unused: a layer that reads another layer's cache and leaves its own empty.
    """

    kind: Kind
    heads: int = 0
    key_width: int = 0
    value_width: int = 0
    key_dtype: mx.Dtype = mx.float32
    value_dtype: mx.Dtype = mx.float32
    window: int = 0
    shapes: tuple[tuple[int, ...], ...] = ()
    dtypes: tuple[mx.Dtype, ...] = ()

    @property
    def per_token(self) -> bool:
        return self.kind in ("plain", "ring")

    @property
    def token_bytes(self) -> int:
        """Bytes of one token's keys and values."""
        if not self.per_token:
            return 0
        return self.heads * (self.key_width * self.key_dtype.size + self.value_width * self.value_dtype.size)

    @property
    def state_bytes(self) -> int:
        """Bytes of a row's state, whatever its length."""
        total = 0
        for shape, dtype in zip(self.shapes, self.dtypes, strict=True):
            size = dtype.size
            for extent in shape:
                size *= extent
            total += size
        return total


Tree = int | tuple["Tree", ...]
"""A leaf by its number, or a list of caches."""


class Layout:
    """The leaves of a model's caches in order, and how they make up the list that the model wants."""

    def __init__(self, leaves: list[Leaf], tree: list[Tree]):
        self.leaves = leaves
        self._tree = tree
        self.plain = [i for i, leaf in enumerate(leaves) if leaf.kind == "plain"]
        self.rings = [i for i, leaf in enumerate(leaves) if leaf.kind == "ring"]
        self.states = [i for i, leaf in enumerate(leaves) if leaf.kind == "state"]
        self.per_token = [i for i, leaf in enumerate(leaves) if leaf.per_token]
        self.shortest_window = min((leaves[i].window for i in self.rings), default=0)
        """Tokens of the narrowest ring; 0 without rings."""

    def assemble(self, parts: list[Any]) -> list[Any]:
        """One object per leaf -> what the model takes as `cache`."""

        def build(tree: Tree) -> Any:
            return parts[tree] if isinstance(tree, int) else CacheList(*(build(part) for part in tree))

        return [build(tree) for tree in self._tree]

    @property
    def kinds(self) -> str:
        """For people: "plain", "plain + ring" …"""
        seen = [kind for kind in ("plain", "ring", "state") if any(leaf.kind == kind for leaf in self.leaves)]
        return " + ".join(seen)

    def row_bytes(self, capacity: int) -> int:
        """Bytes of a row that may hold `capacity` tokens."""
        total = 0
        for leaf in self.leaves:
            tokens = min(capacity, leaf.window) if leaf.kind == "ring" else capacity
            total += leaf.token_bytes * tokens + leaf.state_bytes
        return total

    @property
    def token_bytes(self) -> int:
        """Bytes that one token takes in the pool of the prefix cache."""
        return sum(leaf.token_bytes for leaf in self.leaves)

    @property
    def state_bytes(self) -> int:
        """Bytes of one state checkpoint."""
        return sum(leaf.state_bytes for leaf in self.leaves)


def describe(model: Any) -> Layout:
    """Runs a few tokens through the model and looks at what its caches hold then. Raises NoLayout."""
    caches = make_prompt_cache(model)
    model(mx.arange(1, PROBE + 1, dtype=mx.int32)[None], cache=caches)
    mx.eval([cache.state for cache in caches if not cache.empty()])
    return layout_of(caches)


def layout_of(caches: list[Any]) -> Layout:
    """Of a model's caches after some tokens; shapes are enough, nothing is evaluated. Raises NoLayout."""
    leaves: list[Leaf] = []

    def visit(cache: Any) -> Tree:
        if type(cache) is CacheList:
            return tuple(visit(part) for part in cache.caches)
        leaves.append(_leaf(cache))
        return len(leaves) - 1

    tree = [visit(cache) for cache in caches]
    return Layout(leaves, tree)


def _leaf(cache: Any) -> Leaf:
    if isinstance(cache, ArraysCache):
        arrays = [array for array in cache.cache if array is not None]
        if len(arrays) != len(cache.cache):
            raise NoLayout(f"{type(cache).__name__} with an array that a prompt leaves empty")
        return Leaf(
            "state", shapes=tuple(tuple(a.shape[1:]) for a in arrays), dtypes=tuple(array.dtype for array in arrays)
        )
    if type(cache) not in (KVCache, RotatingKVCache):
        raise NoLayout(type(cache).__name__)
    if cache.keys is None:
        return Leaf("unused")
    _, heads, _, key_width = cache.keys.shape
    window = 0
    if type(cache) is RotatingKVCache:
        if cache.keep:
            raise NoLayout("RotatingKVCache that keeps its first tokens")
        window = cache.max_size
    if cache.values.shape[1] != heads:
        raise NoLayout("keys and values with different numbers of heads")
    return Leaf(
        "ring" if window else "plain",
        heads=heads,
        key_width=key_width,
        value_width=cache.values.shape[3],
        key_dtype=cache.keys.dtype,
        value_dtype=cache.values.dtype,
        window=window,
    )
