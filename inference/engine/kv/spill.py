"""The prefix cache's blocks and states on their way to the SSD tier and back: device arrays as raw bytes."""

from collections.abc import Iterable
from dataclasses import dataclass
from time import perf_counter

import mlx.core as mx
import numpy as np

from inference.engine.kv.layout import Layout
from inference.engine.kv.pool import Pool
from inference.engine.prefix.blocks import BlockIndex
from inference.engine.prefix.checkpoints import Checkpoint
from inference.engine.prefix.keys import Chain
from inference.engine.prefix.records import Evicted
from inference.engine.prefix.stored import Buffer, Stored
from inference.engine.prefix.tier import Tier
from inference.engine.sequence import Sequence

PATIENCE = 5.0
"""Seconds that a request waits for its blocks to be read, before it computes them after all."""
SHUT_SECONDS = 4.0
"""For writing what is queued when the engine ends; its supervisor waits little longer."""
AT_ONCE = 16
"""Blocks copied while the engine rests, before it looks for work again."""
DTYPES = {str(dtype): dtype for dtype in (mx.float32, mx.float16, mx.bfloat16, mx.uint32, mx.uint8, mx.int32, mx.int8)}

States = dict[int, list[mx.array]]


@dataclass(frozen=True, slots=True)
class Wish:
    """Blocks that are read ahead for a sequence: `keys` from block `first` on, its tokens up to `end`."""

    keys: list[bytes]
    first: int
    end: int
    state: bool
    """With the state at `end`, without which the blocks are of no use."""


class Spill:
    """Between pool and tier. All on the step thread, between steps; the disk is the business of the tier's threads."""

    def __init__(self, tier: Tier, index: BlockIndex, pool: Pool, layout: Layout):
        self.tier = tier
        self._index = index
        self._pool = pool
        self._layout = layout
        self._wishes: dict[str, Wish] = {}
        """By sequence."""
        self._copied: set[bytes] = set()
        """Cached blocks that the tier was given, as far as known."""
        self._todo: list[Evicted] = []

    # --- out ---------------------------------------------------------------------------------------------------------

    def save(self, blocks: Iterable[Evicted]) -> bool:
        """Queues blocks, whose bytes must still be there, and the states that hang on them. False when the tier has
        no room for one more: it drops what comes too fast for its disk."""
        taken = True
        for block in blocks:
            buffers = [
                _buffer(array)
                for leaf in self._layout.per_token
                for array in self._pool.raw(leaf, block.number * self._index.size, self._index.size)
            ]
            taken &= self.tier.put(Stored("block", block.key, block.parent, block.label, block.tokens, buffers))
            for checkpoint in block.checkpoints:
                self.save_state(checkpoint)
        return taken

    def save_state(self, checkpoint: Checkpoint) -> None:
        buffers = [_buffer(array) for leaf in self._layout.states for array in checkpoint.payload[leaf]]
        self.tier.put(Stored("state", checkpoint.key, checkpoint.parent, checkpoint.label, checkpoint.tokens, buffers))

    def copy_some(self) -> bool:
        """Queues the next few blocks that the tier was not given yet. False when there are none, or it has no room."""
        if not self._todo:
            held = list(self._index.contents())
            self._copied &= {block.key for block in held}
            self._todo = [block for block in reversed(held) if block.key not in self._copied]
        some = [self._todo.pop() for _ in range(min(AT_ONCE, len(self._todo)))]
        if not self.save(some):
            self._todo = []
            return False
        self._copied.update(block.key for block in some)
        return bool(some)

    def shut(self) -> None:
        """Saves what it can in a few seconds."""
        until = perf_counter() + SHUT_SECONDS / 2
        self._todo = []
        while perf_counter() < until and self.copy_some():
            pass
        self.tier.close(SHUT_SECONDS / 2)

    # --- in ----------------------------------------------------------------------------------------------------------

    def ask(self, sequence: Sequence, cached: int) -> None:
        """Starts reading what the tier has of the sequence behind its first `cached` tokens."""
        self._todo = []
        chain: Chain = sequence.chain
        first, limit = cached // chain.size, sequence.context - 1
        if self._layout.states:
            places = [at for at in self.tier.states(chain, limit) if at > cached]
            wishes = [self._wish(chain, first, at, state=True) for at in places]
            wish = next((each for each in wishes if self.tier.lookup(each.keys) == len(each.keys)), None)
        else:
            there = self.tier.lookup(chain.keys[first : limit // chain.size])
            wish = self._wish(chain, first, (first + there) * chain.size, state=False) if there else None
        if wish is None:
            return
        self._wishes[sequence.id] = wish
        self.tier.read_ahead(wish.keys)
        if wish.state:
            self.tier.read_ahead([chain.key_at(wish.end)], "state")

    def waits(self, sequence: Sequence, now: float) -> bool:
        """Whether the sequence's blocks are still on their way, and worth waiting for."""
        wish = self._wishes.get(sequence.id)
        if wish is None or now > sequence.received + PATIENCE:
            return False
        state = [sequence.chain.key_at(wish.end)] if wish.state else []
        return self.tier.reading(wish.keys) or self.tier.reading(state, "state")

    def load(self, sequence: Sequence) -> None:
        """Puts what has been read into the pool, where the index finds it. What is still on its way is given up."""
        wish = self._wishes.get(sequence.id)
        if wish is None:
            return
        chain: Chain = sequence.chain
        ready = wish.keys[: self.tier.loaded(wish.keys)]
        loaded = self._load_blocks(chain, wish, [self.tier.take(key) for key in ready])
        if wish.state and loaded == wish.end and self.tier.loaded([chain.key_at(wish.end)], "state"):
            self._load_state(chain, wish.end)
        self.forget(sequence)

    def forget(self, sequence: Sequence) -> None:
        wish = self._wishes.pop(sequence.id, None)
        if wish is not None:
            self.tier.discard(wish.keys)

    def _wish(self, chain: Chain, first: int, end: int, *, state: bool) -> Wish:
        blocks, rest = divmod(end, chain.size)
        return Wish([*chain.keys[first:blocks], *([chain.key_at(end)] if rest else [])], first, end, state)

    def _load_blocks(self, chain: Chain, wish: Wish, stored: list[Stored | None]) -> int:
        """Returns up to which token the chain is cached then, as far as this goes."""
        size = chain.size
        whole: list[Stored] = []
        for block, found in enumerate(stored, wish.first):
            if found is None or found.label != chain.label(block, wish.end):
                break
            whole.append(found)
        start, end = wish.first * size, min(wish.end, (wish.first + len(whole)) * size)
        if end <= start:
            return start
        insertion = self._index.insert(chain, start, end)
        self.save(insertion.evicted)
        try:
            for position, token, count in insertion.copies:
                # Whole blocks: what a leaf that is filled further holds already is the same.
                for at in range(token // size * size, token + count, size):
                    self._write(whole[(at - start) // size], position - token + at)
            for leaf in self._layout.per_token:
                mx.eval(self._pool.arrays(leaf))
        except BaseException:
            self._index.abandon(insertion)
            raise
        self._index.commit(insertion)
        return insertion.tokens

    def _write(self, block: Stored, position: int) -> None:
        """Its positions beyond `tokens` hold whatever they held; the index never matches them."""
        arrays = iter([_array(buffer) for buffer in block.buffers])
        for leaf in self._layout.per_token:
            self._pool.write_raw(leaf, position, arrays)

    def _load_state(self, chain: Chain, place: int) -> None:
        stored = self.tier.take(chain.key_at(place), "state")
        if stored is None or stored.tokens != place:
            return
        arrays = iter([_array(buffer) for buffer in stored.buffers])
        states: States = {
            leaf: [next(arrays) for _ in self._layout.leaves[leaf].shapes] for leaf in self._layout.states
        }
        self._index.attach(chain, place, states, self._layout.state_bytes)


def _buffer(array: mx.array) -> Buffer:
    # numpy has no bfloat16: the bits travel as integers.
    bits = array.view(mx.uint16) if array.dtype == mx.bfloat16 else array
    return Buffer(str(array.dtype), tuple(array.shape), np.array(bits, copy=True).tobytes())


def _array(buffer: Buffer) -> mx.array:
    dtype = DTYPES[buffer.dtype]
    width = mx.uint16 if dtype == mx.bfloat16 else dtype
    numbers = np.frombuffer(buffer.data, dtype=str(width).removeprefix("mlx.core.")).reshape(buffer.shape)
    array = mx.array(numbers)
    return array.view(dtype) if dtype == mx.bfloat16 else array
