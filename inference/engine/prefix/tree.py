"""Cached blocks as a tree: a block's children are the blocks that followed it in some sequence.

Siblings are sorted by content, so that the one sharing the most leading tokens with a prompt is a neighbour of the
place where the prompt would stand: token-level matching as in SGLang's RadixAttention, found by bisection.
"""

from bisect import bisect_left
from operator import attrgetter
from typing import TYPE_CHECKING

from inference.engine.prefix.keys import Chain

if TYPE_CHECKING:
    from inference.engine.prefix.checkpoints import Checkpoint
    from inference.engine.prefix.records import Insertion

LOOK_BEHIND = 1024
"""Blocks that are visited to say how much lies behind a divergence."""
_label = attrgetter("label")


class Block:
    """One block of the pool and what lies in it, or (number -1) the root that a chain starts from."""

    __slots__ = (
        "checkpoints", "children", "dead", "filled", "guards", "insertion", "key", "label", "number", "parent", "ready",
        "refs",
    )  # fmt: skip

    def __init__(self, number: int, parent: "Block | None", key: bytes, label: bytes = b"", filled: int = 0):
        self.number = number
        self.parent = parent
        self.key = key
        self.label = label
        self.filled = filled
        """Tokens that it holds, those of an insertion under way included."""
        self.ready = 0
        """Tokens whose keys and values are in the pool; only these are ever matched."""
        self.children: list[Block] = []
        self.checkpoints: dict[bytes, Checkpoint] = {}
        """By the label of the tokens between this block's end and the checkpoint; b"" is right at its end."""
        self.refs = 0
        """Rows that read it in place."""
        self.guards = 0
        """Reasons not to evict it: being read, pinned, being written, each child that has one."""
        self.insertion: Insertion | None = None
        """The insertion that writes it at the moment."""
        self.dead = False
        """No longer in the tree; its number comes free when no row reads it and no insertion writes it."""

    def add(self, child: "Block") -> None:
        self.children.insert(bisect_left(self.children, child.label, key=_label), child)

    def remove(self, child: "Block") -> None:
        place = bisect_left(self.children, child.label, key=_label)
        while self.children[place] is not child:
            place += 1
        del self.children[place]

    def closest(self, label: bytes) -> "tuple[Block | None, int]":
        """The child whose label has the longest common prefix with this one, and how many bytes that is."""
        place = bisect_left(self.children, label, key=_label)
        best, longest = None, 0
        for child in self.children[max(0, place - 1) : place + 1]:
            shared = common_prefix(child.label, label)
            if best is None or shared > longest:
                best, longest = child, shared
        return best, longest

    def subtree(self) -> "list[Block]":
        """Itself and all below, parents before their children."""
        found = [self]
        for block in found:
            found.extend(block.children)
        return found

    def reach(self) -> int:
        """Tokens on the longest branch that starts with it, of the first `LOOK_BEHIND` blocks below."""
        longest, reached = 0, [(self, self.ready)]
        for block, tokens in reached:
            longest = max(longest, tokens)
            room = LOOK_BEHIND - len(reached)
            reached += [(child, tokens + child.ready) for child in block.children[: max(0, room)]]
        return longest


def common_prefix(a: bytes, b: bytes) -> int:
    """In bytes."""
    length = min(len(a), len(b))
    difference = int.from_bytes(a[:length], "little") ^ int.from_bytes(b[:length], "little")
    return ((difference & -difference).bit_length() - 1) // 8 if difference else length


class Trees:
    """All the trees, one per root key, and every full block by its key."""

    def __init__(self, size: int):
        self.size = size
        self.full: dict[bytes, Block] = {}
        self.roots: dict[bytes, Block] = {}

    def descend(self, chain: Chain, blocks: int, *, planned: bool = False) -> list[Block]:
        """The root, and behind it as many of the chain's first `blocks` full blocks as are cached in a row.

        Labels are compared too: a hash that collides is a miss. `planned` counts blocks still being written.
        """
        node = self.roots.get(chain.root) or Block(-1, None, chain.root)
        path = [node]
        for depth, key in enumerate(chain.keys[:blocks]):
            block = self.full.get(key)
            if block is None or block.parent is not node or not (planned or block.ready == self.size):
                break
            if block.label != chain.label(depth):
                break
            path.append(node := block)
        return path

    def attach(self, block: Block) -> None:
        assert block.parent is not None
        if block.parent.number < 0:
            self.roots[block.parent.key] = block.parent
        block.parent.add(block)
        self._name(block)

    def relabel(self, block: Block, key: bytes, label: bytes, filled: int) -> None:
        """Its content is longer or shorter than it was."""
        assert block.parent is not None
        self._unname(block)
        block.parent.remove(block)
        block.key, block.label, block.filled = key, label, filled
        block.parent.add(block)
        self._name(block)

    def detach(self, block: Block) -> None:
        """Only of a leaf."""
        assert block.parent is not None and not block.children
        self._unname(block)
        block.parent.remove(block)
        if block.parent.number < 0 and not block.parent.children:
            self.roots.pop(block.parent.key, None)

    def _name(self, block: Block) -> None:
        if block.filled == self.size:
            self.full.setdefault(block.key, block)

    def _unname(self, block: Block) -> None:
        if self.full.get(block.key) is block:
            del self.full[block.key]
