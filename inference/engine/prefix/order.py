"""Which block goes next: the least recently used one that nothing speaks for.

All evictable blocks stand in one line, oldest first, and a parent always stands behind its children: whatever touches a
child touches its ancestors after it. The oldest is therefore a leaf, and eviction takes it without a search.
"""

from collections import OrderedDict

from inference.engine.prefix.tree import Block


class EvictionOrder:
    """A guard on a block takes it and its ancestors out of the line; the last one gone, they come back as newest."""

    def __init__(self) -> None:
        self._line: OrderedDict[Block, None] = OrderedDict()

    def __len__(self) -> int:
        """Evictable blocks."""
        return len(self._line)

    def __contains__(self, block: Block) -> bool:
        return block in self._line

    def oldest(self) -> Block | None:
        return next(iter(self._line), None)

    def guard(self, block: Block) -> None:
        """Constant time while an ancestor near by is guarded, else in the block's depth."""
        node: Block | None = block
        while node is not None and node.parent is not None:
            node.guards += 1
            if node.guards > 1:
                return
            self._line.pop(node, None)
            node = node.parent

    def unguard(self, block: Block) -> None:
        node: Block | None = block
        while node is not None and node.parent is not None:
            node.guards -= 1
            assert node.guards >= 0, "a guard was taken off twice"
            if node.guards:
                return
            self._line[node] = None
            node = node.parent

    def touch(self, block: Block | None) -> None:
        """The block was used just now, and so were its ancestors."""
        while block is not None and block.parent is not None:
            if not block.guards:
                self._line.move_to_end(block)
            block = block.parent

    def leave(self, block: Block) -> None:
        """The block leaves the tree; if it was guarded, its parent has one reason less to stay."""
        self._line.pop(block, None)
        if block.guards and block.parent is not None:
            self.unguard(block.parent)
        block.parent = None
