"""The index of cached blocks: what is cached of a prompt, where new tokens go, and which blocks make room for them.

Blocks are named by hash chains (vLLM) and matched to the token (SGLang's RadixAttention). All of it is bookkeeping
over the numbers of a preallocated pool; the caller copies keys and values. One thread, the step's, owns an index.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from inference.engine.prefix.allocator import Allocator
from inference.engine.prefix.checkpoints import Checkpoint, along
from inference.engine.prefix.insertion import Inserter
from inference.engine.prefix.keys import Chain
from inference.engine.prefix.records import Counters, Divergence, Evicted, Insertion, Match, Move, Shrunk
from inference.engine.prefix.stock import Stock
from inference.engine.prefix.tree import Block


class BlockIndex:
    """Blocks of `size` tokens, numbered 0 … capacity - 1; token t of block b lies at pool position b * size + t.

    `block_bytes` is what one block takes over all layers, for the counters; `checkpoint_budget` is in bytes. Of a full
    pool the share `reserve` is kept free: with some runs to choose from, a conversation lies in a third as many pieces.
    """

    def __init__(
        self,
        size: int = 32,
        capacity: int = 0,
        *,
        block_bytes: int = 0,
        checkpoint_budget: int = 0,
        reserve: float = 1 / 32,
    ):
        self.size = size
        self.block_bytes = block_bytes
        self._stock = Stock(size, capacity, checkpoint_budget, reserve)
        self._inserter = Inserter(self._stock)
        self._pins: dict[bytes, tuple[list[Block], list[Checkpoint]]] = {}
        self._held = 0
        self._shared = 0

    @property
    def capacity(self) -> int:
        return self._stock.allocator.capacity

    @property
    def available(self) -> int:
        """Blocks that an insertion could have: free ones and evictable ones."""
        return self._stock.allocator.free + len(self._stock.order)

    # --- matching ----------------------------------------------------------------------------------------------------

    def match(self, chain: Chain, limit: int | None = None, *, state: bool = False) -> Match:
        """The longest cached prefix, to the token; counts the query and refreshes the blocks.

        At most `limit` tokens and never the last one: it has to be decoded for its logits. With `state`, the longest
        prefix that ends at a checkpoint.
        """
        found = self.peek(chain, limit, state=state)
        if found.blocks:
            self._stock.order.touch(self._stock.blocks[found.blocks[-1]])
        if found.checkpoint:
            self._stock.checkpoints.touch(found.checkpoint)
        counts = self._stock.counts
        counts.queries += 1
        counts.tokens_asked += len(chain)
        counts.tokens_saved += found.tokens
        counts.hits += found.tokens > 0
        counts.misses += found.tokens == 0
        counts.partial_hits += found.tail > 0
        counts.checkpoint_hits += found.checkpoint is not None
        return found

    def peek(self, chain: Chain, limit: int | None = None, *, state: bool = False) -> Match:
        """What `match` would find, without counting or refreshing: for the scheduler's estimates."""
        longest = max(0, len(chain) - 1)
        path, shared = self._stock.find(chain, longest if limit is None else max(0, min(limit, longest)))
        numbers = [block.number for block in path[1:]]
        full = len(numbers) - (shared > 0)
        if not state:
            return Match(numbers, full * self.size + shared, self.size)
        checkpoint = next(along(chain, path[: full + 1], shared), None)
        tokens = checkpoint.tokens if checkpoint else 0
        return Match(numbers[: -(-tokens // self.size)], tokens, self.size, checkpoint)

    def divergence(self, chain: Chain) -> Divergence | None:
        """Where the prompt first differs from what is cached; None when it doesn't, or nothing of its root is cached.

        For diagnostics: looks at a bounded number of blocks and tells positions only, never content.
        """
        path = self._stock.trees.descend(chain, len(chain.keys))
        depth = len(path) - 1
        child, length = path[-1].closest(chain.label(depth))
        shared = chain.tokens_within(depth, length) if child else 0
        token = depth * self.size + shared
        if child is None or shared == child.filled or token in (len(chain), chain.own_from):
            # (Where its own part begins, what follows is others'.)
            return None
        return Divergence(token, len(chain), child.reach() - shared)

    # --- inserting ---------------------------------------------------------------------------------------------------

    def insert(self, chain: Chain, start: int = 0, end: int | None = None) -> Insertion:
        """Plans to cache the chain's tokens up to `end` (default: all), of which the caller's slot holds those from
        `start` on. See `Insertion` for what to do with it; until it is committed nobody matches what it writes.

        What finds no room, or no cached parent before `start`, is left out and counted. Raises ValueError when
        [start, end) is no part of the chain.
        """
        return self._inserter.plan(chain, start, len(chain) if end is None else end)

    def commit(self, insertion: Insertion) -> None:
        """The copies are made: its blocks can be matched. Raises ValueError when it is settled already."""
        self._inserter.commit(insertion)

    def abandon(self, insertion: Insertion) -> None:
        """The copies were not made: takes back what was planned. Raises ValueError when it is settled already."""
        self._inserter.abandon(insertion)

    def attach(self, chain: Chain, tokens: int, payload: Any, size: int) -> list[Checkpoint]:
        """Keeps a state of `size` bytes after the chain's first `tokens` tokens, whose blocks must be cached.

        Returns the checkpoints that have no place, the new one among them when it was refused.
        """
        path, shared = self._stock.find(chain, tokens)
        depth, rest = divmod(tokens, self.size)
        label = chain.label(depth, tokens) if rest else b""
        parent = chain.keys[depth - 1] if depth else chain.root
        new = Checkpoint(chain.key_at(tokens), parent, label, tokens, payload, size)
        covered = tokens > 0 and self._stock.covers(path, shared, tokens)
        return self._stock.checkpoints.attach(path[depth], new) if covered else [new]

    # --- holding and pinning -----------------------------------------------------------------------------------------

    def hold(self, blocks: Iterable[int]) -> None:
        """A row reads these blocks in place: they and their ancestors stay. Raises KeyError for one not in use."""
        for block in [self._stock.blocks[number] for number in blocks]:
            block.refs += 1
            self._held += block.refs == 1
            self._shared += block.refs == 2
            if block.refs == 1:
                self._stock.order.guard(block)

    def release(self, blocks: Iterable[int]) -> None:
        """Ends a hold. Raises ValueError at a block that is not held."""
        for number in reversed(list(blocks)):
            block = self._stock.blocks.get(number)
            if block is None or not block.refs:
                raise ValueError(f"Block {number} is not held.")
            block.refs -= 1
            self._held -= block.refs == 0
            self._shared -= block.refs == 1
            if not block.refs:
                self._stock.order.unguard(block)
                self._stock.free_if_left(block)

    def pin(self, chain: Chain, tokens: int | None = None) -> int:
        """Keeps what is cached of the chain's first `tokens` tokens (default: all), checkpoints included, until `unpin`
        of the same; returns how many tokens that is. Again for the same prefix: takes in what came since."""
        end = len(chain) if tokens is None else tokens
        path, shared = self._stock.find(chain, end)
        full = len(path) - 1 - (shared > 0)
        states = list(along(chain, path[: full + 1], shared))
        for block in path[1:]:
            self._stock.order.guard(block)
        for state in states:
            self._stock.checkpoints.pin(state)
        self.unpin(chain, end)
        self._pins[chain.key_at(end)] = (path[1:], states)
        return full * self.size + shared

    def unpin(self, chain: Chain, tokens: int | None = None) -> bool:
        """Whether it was pinned."""
        pinned = self._pins.pop(chain.key_at(len(chain) if tokens is None else tokens), None)
        if pinned is None:
            return False
        for block in reversed(pinned[0]):
            self._stock.order.unguard(block)
        for state in pinned[1]:
            self._stock.checkpoints.unpin(state)
        return True

    # --- room --------------------------------------------------------------------------------------------------------

    def evict(self, count: int) -> list[Evicted]:
        """Frees the `count` least recently used blocks, or as many as nothing speaks for."""
        return self._stock.evict(count)

    def grow(self, capacity: int) -> None:
        """The pool has more blocks, at its end. Raises ValueError when it has fewer."""
        self._stock.allocator.grow(capacity)

    def shrink(self, capacity: int) -> Shrunk:
        """Plans a smaller pool: evicts, and moves the rest below the new capacity. That is larger than asked for when
        pinned blocks don't fit or a row reads a block beyond it in place. Raises ValueError while an insertion is open.
        """
        if self._inserter.open:
            raise ValueError("The pool can't shrink while blocks are being written.")
        stock = self._stock
        evicted = stock.evict(len(stock.blocks) - capacity)
        last_held = max((number for number, block in stock.blocks.items() if block.refs), default=-1)
        capacity = min(self.capacity, max(capacity, len(stock.blocks), last_held + 1))
        beyond = sorted(number for number in stock.blocks if number >= capacity)
        stock.allocator = Allocator(capacity, used=(number for number in stock.blocks if number < capacity))
        targets = [number for run in stock.allocator.allocate(len(beyond)) for number in run]
        for source, target in zip(beyond, targets, strict=True):
            block = stock.blocks[target] = stock.blocks.pop(source)
            block.number = target
        return Shrunk(capacity, evicted, [Move(*pair) for pair in zip(beyond, targets, strict=True)])

    def clear(self) -> None:
        """Forgets everything, pins too. Blocks that are being read or written come free when that ends."""
        for root in list(self._stock.trees.roots.values()):
            for block in list(root.children):
                self._stock.remove(block)
        self._pins.clear()

    def contents(self) -> Iterator[Evicted]:
        """Every block whose content is there, parents before their children, as it would be named if it had to go."""
        for root in self._stock.trees.roots.values():
            for block in root.subtree():
                if block.ready and block.insertion is None and block.parent is not None:
                    states = list(block.checkpoints.values())
                    yield Evicted(block.number, block.key, block.parent.key, block.label, block.ready, states)

    def counters(self) -> Counters:
        """A snapshot."""
        stock = self._stock
        return replace(
            stock.counts,
            blocks_total=self.capacity,
            blocks_used=len(stock.blocks),
            blocks_shared=self._shared,
            blocks_held=self._held,
            blocks_evictable=len(stock.order),
            bytes=len(stock.blocks) * self.block_bytes,
            checkpoints_added=stock.checkpoints.added,
            checkpoints_dropped=stock.checkpoints.dropped,
            checkpoints=len(stock.checkpoints),
            checkpoint_bytes=stock.checkpoints.bytes,
        )
