"""The blocks in use: their tree, their numbers, their order of eviction and their checkpoints, kept in step."""

from inference.engine.prefix.allocator import Allocator
from inference.engine.prefix.checkpoints import Checkpoint, Checkpoints
from inference.engine.prefix.keys import Chain
from inference.engine.prefix.order import EvictionOrder
from inference.engine.prefix.records import Counters, Evicted
from inference.engine.prefix.tree import Block, Trees


class Stock:
    """What `BlockIndex` and `Inserter` both work on; see `BlockIndex` for the arguments."""

    def __init__(self, size: int, capacity: int, checkpoint_budget: int, reserve: float):
        self.size = size
        self.trees = Trees(size)
        self.order = EvictionOrder()
        self.allocator = Allocator(capacity)
        self.checkpoints = Checkpoints(checkpoint_budget)
        self.counts = Counters()
        self.blocks: dict[int, Block] = {}
        """By number, with those that left the tree but are still read or written."""
        self._reserve = reserve

    def find(self, chain: Chain, limit: int) -> tuple[list[Block], int]:
        """The longest cached prefix of at most `limit` tokens: the root, the full blocks, and, when the second figure
        is not 0, one more block of which that many leading tokens are shared."""
        path = self.trees.descend(chain, limit // self.size)
        depth = len(path) - 1
        child, length = path[-1].closest(chain.label(depth, limit))
        shared = min(chain.tokens_within(depth, length), child.ready) if child else 0
        return ([*path, child] if child and shared else path), shared

    def covers(self, path: list[Block], shared: int, tokens: int) -> bool:
        """Whether a prefix that `find` was asked for is cached whole."""
        return (len(path) - 1 - (shared > 0)) * self.size + shared == tokens

    def add(self, number: int, parent: Block, key: bytes, label: bytes, filled: int) -> Block:
        block = Block(number, parent, key, label, filled)
        self.trees.attach(block)
        self.blocks[number] = block
        return block

    def drop(self, block: Block) -> list[Checkpoint]:
        """Takes a leaf out of the tree; returns the checkpoints that go with it."""
        parent = block.parent
        assert parent is not None
        self.trees.detach(block)
        self.order.leave(block)
        block.dead = True
        dropped = self.checkpoints.leave(block, parent)
        self.free_if_left(block)
        return dropped

    def free_if_left(self, block: Block) -> None:
        """Its number is free once it is out of the tree, no row reads it and no insertion writes it."""
        if block.dead and not block.refs and block.insertion is None:
            del self.blocks[block.number]
            self.allocator.release(block.number)

    def make_room(self, count: int) -> list[Evicted]:
        """Evicts until `count` blocks are free and, where that can be had, the reserve beside them."""
        return self.evict(count + int(self._reserve * self.allocator.capacity) - self.allocator.free)

    def evict(self, count: int) -> list[Evicted]:
        """The least recently used blocks, leaves first; fewer when the rest are held, pinned or being written."""
        evicted: list[Evicted] = []
        while len(evicted) < count and (block := self.order.oldest()) is not None:
            assert block.parent is not None
            parent = block.parent.key
            dropped = self.drop(block)
            evicted.append(Evicted(block.number, block.key, parent, block.label, block.filled, dropped))
        self.counts.evicted += len(evicted)
        return evicted

    def remove(self, block: Block) -> None:
        """Takes it and all below it out of the tree, used or not."""
        for below in reversed(block.subtree()):
            self.counts.removed += below.ready > 0
            self.drop(below)
