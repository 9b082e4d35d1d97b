"""States of models that can't be cut at any token (SSM, linear attention, rings), kept beside the blocks.

A state is valid at one exact position. It hangs on the last full block before that position, under the label of the
tokens in between, so it is found by content like a block; it goes when the blocks that lead to it go, or by least
recent use when the byte budget is spent.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from inference.engine.prefix.keys import TOKEN_BYTES, Chain
from inference.engine.prefix.tree import Block


@dataclass(slots=True, eq=False)
class Checkpoint:
    """A state after the first `tokens` tokens of a chain; `payload` is the engine's own business."""

    key: bytes
    """`Chain.key_at(tokens)`."""
    parent: bytes
    """Key of the last full block before the position, or of the chain's root."""
    label: bytes
    """Of the tokens from there to the position."""
    tokens: int
    payload: Any
    bytes: int
    pins: int = 0


class Checkpoints:
    """At most `budget` bytes of states; a pinned one counts but stays."""

    def __init__(self, budget: int):
        self.budget = budget
        self.bytes = 0
        self.added = 0
        self.dropped = 0
        self._line: OrderedDict[Checkpoint, Block] = OrderedDict()
        """Oldest first, pinned ones left out; each with the block that it hangs on."""
        self._pinned: dict[Checkpoint, Block] = {}

    def __len__(self) -> int:
        return len(self._line) + len(self._pinned)

    def attach(self, home: Block, checkpoint: Checkpoint) -> list[Checkpoint]:
        """Hangs it on the block; returns those without a place now, itself among them when it is too large.

        A state that is there already stays, and the new one is not returned: it is the same.
        """
        known = home.checkpoints.get(checkpoint.label)
        if known is not None:
            self.touch(known)
            return []
        pinned = sum(other.bytes for other in self._pinned)
        if checkpoint.bytes > self.budget - pinned:
            return [checkpoint]
        dropped = []
        while self.bytes + checkpoint.bytes > self.budget:
            dropped.append(self._drop(next(iter(self._line))))
        home.checkpoints[checkpoint.label] = checkpoint
        self._line[checkpoint] = home
        self.bytes += checkpoint.bytes
        self.added += 1
        return dropped

    def touch(self, checkpoint: Checkpoint) -> None:
        if checkpoint in self._line:
            self._line.move_to_end(checkpoint)

    def pin(self, checkpoint: Checkpoint) -> None:
        checkpoint.pins += 1
        if checkpoint in self._line:
            self._pinned[checkpoint] = self._line.pop(checkpoint)

    def unpin(self, checkpoint: Checkpoint) -> None:
        checkpoint.pins -= 1
        if not checkpoint.pins and checkpoint in self._pinned:
            self._line[checkpoint] = self._pinned.pop(checkpoint)

    def leave(self, block: Block, parent: Block) -> list[Checkpoint]:
        """The block has just left the tree: drops the states at its end and those that only it led to."""
        gone = list(block.checkpoints.values())
        if parent.checkpoints:
            labels = (block.label[:length] for length in range(TOKEN_BYTES, len(block.label) + 1, TOKEN_BYTES))
            led_to = [label for label in labels if label in parent.checkpoints]
            gone += [parent.checkpoints[label] for label in led_to if parent.closest(label)[1] < len(label)]
        return [self._drop(checkpoint) for checkpoint in gone]

    def _drop(self, checkpoint: Checkpoint) -> Checkpoint:
        home = self._line.pop(checkpoint, None) or self._pinned.pop(checkpoint)
        del home.checkpoints[checkpoint.label]
        self.bytes -= checkpoint.bytes
        self.dropped += 1
        return checkpoint


def along(chain: Chain, path: list[Block], shared: int) -> Iterator[Checkpoint]:
    """The states along a matched path, last first: the path is root and full blocks, and `shared` tokens of one more
    block follow it."""
    for depth in range(len(path) - 1, -1, -1):
        home, reach = path[depth], shared if depth == len(path) - 1 else chain.size - 1
        if not home.checkpoints:
            continue
        for rest in range(reach, -1, -1):
            label = chain.label(depth, depth * chain.size + rest) if rest else b""
            if label in home.checkpoints:
                yield home.checkpoints[label]
