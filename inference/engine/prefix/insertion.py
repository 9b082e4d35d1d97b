"""Putting a sequence's tokens into blocks, in two steps, for the device copy between them can fail.

`plan` makes the blocks known to later plans, so that nothing is written twice, but not to matches; `commit` makes them
matchable; `abandon` takes them back. The last block of a prompt or an answer may be partly filled; a sequence that
continues it fills it further. That only ever appends: the tokens that a row may be reading there never change.
"""

from inference.engine.prefix.keys import Chain
from inference.engine.prefix.records import Copy, Insertion, as_runs
from inference.engine.prefix.stock import Stock
from inference.engine.prefix.tree import Block


class Inserter:
    def __init__(self, stock: Stock):
        self._stock = stock
        self.open = 0
        """Insertions planned and not settled."""

    def plan(self, chain: Chain, start: int, end: int) -> Insertion:
        """Raises ValueError when [start, end) is no part of the chain."""
        if not 0 <= start <= end <= len(chain):
            raise ValueError(f"Tokens from {start} to {end} of {len(chain)} can't be cached.")
        stock, size = self._stock, self._stock.size
        self.open += 1
        insertion = Insertion()
        path = stock.trees.descend(chain, end // size, planned=True)
        insertion.tokens = (len(path) - 1) * size
        stock.counts.deduplicated += max(0, len(path) - 1 - -(-start // size))
        # Guarded, for the room that is made below must not be made of the blocks that the new ones hang on.
        stock.order.guard(path[-1])
        pieces, parent = self._fill_leaf(insertion, chain, path[-1], start, end)
        if parent is not None and start <= insertion.tokens:
            pieces += self._add_blocks(insertion, chain, parent, end)
        stock.order.unguard(path[-1])
        insertion.copies = list(as_runs(iter(pieces)))
        insertion.shortfall = -(-(end - insertion.tokens) // size)
        stock.counts.insert_shortfall += insertion.shortfall
        return insertion

    def commit(self, insertion: Insertion) -> None:
        self._settle(insertion)
        counts = self._stock.counts
        for block in reversed(insertion.blocks):
            block.insertion = None
            if block.dead:
                counts.abandoned += block.ready == 0
                self._stock.free_if_left(block)
                continue
            counts.extended += block.ready > 0
            counts.inserted += block.ready == 0
            block.ready = block.filled
            self._stock.order.unguard(block)

    def abandon(self, insertion: Insertion) -> None:
        self._settle(insertion)
        stock = self._stock
        for block in reversed(insertion.blocks):
            stock.counts.abandoned += block.ready == 0
            if not block.dead:
                for below in list(block.children):
                    stock.remove(below)
                if block.ready:
                    self._cut_back(block, insertion)
                else:
                    stock.drop(block)
            block.insertion = None
            stock.free_if_left(block)

    def _fill_leaf(
        self, insertion: Insertion, chain: Chain, parent: Block, start: int, end: int
    ) -> tuple[list[Copy], Block | None]:
        """Continues the block that holds the next tokens' beginning, if there is one.

        Returns the copies and the block that new ones hang on: None when nothing can or need be added.
        """
        stock, size, first = self._stock, self._stock.size, insertion.tokens
        want = min(size, end - first)
        depth = first // size
        label = chain.label(depth, end)
        child, length = parent.closest(label)
        shared = chain.tokens_within(depth, length) if child else 0
        if want and child is not None and shared == want:
            insertion.tokens += want
            return [], None
        if not want or child is None or shared < child.filled:
            return [], parent if want else None
        if child.insertion is not None or start > first + shared:
            return [], None
        insertion.grown_from = (child.key, child.label, child.filled)
        stock.trees.relabel(child, chain.key_at(first + want), label, want)
        self._write(insertion, child)
        insertion.tokens += want
        return [Copy(child.number * size + shared, first + shared, want - shared)], child if want == size else None

    def _add_blocks(self, insertion: Insertion, chain: Chain, parent: Block, end: int) -> list[Copy]:
        stock, size = self._stock, self._stock.size
        allocator = stock.allocator
        count = -(-(end - insertion.tokens) // size)
        insertion.evicted = stock.make_room(count)
        pieces = []
        after = parent.number if parent.number >= 0 else None
        for run in allocator.allocate(min(count, allocator.free), after):
            for number in run:
                first = insertion.tokens
                filled = min(size, end - first)
                label = chain.label(first // size, end)
                parent = stock.add(number, parent, chain.key_at(first + filled), label, filled)
                self._write(insertion, parent)
                pieces.append(Copy(number * size, first, filled))
                insertion.tokens += filled
        return pieces

    def _write(self, insertion: Insertion, block: Block) -> None:
        block.insertion = insertion
        insertion.blocks.append(block)
        self._stock.order.guard(block)

    def _cut_back(self, block: Block, insertion: Insertion) -> None:
        """To what it held before it was filled further."""
        assert insertion.grown_from is not None
        self._stock.trees.relabel(block, *insertion.grown_from)
        self._stock.order.unguard(block)

    def _settle(self, insertion: Insertion) -> None:
        if insertion.settled:
            raise ValueError("The insertion is committed or abandoned already.")
        insertion.settled = True
        self.open -= 1
