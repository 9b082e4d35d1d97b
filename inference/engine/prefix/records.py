"""What the index tells its callers: plain records of block numbers, positions and counts."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from inference.engine.prefix.checkpoints import Checkpoint
from inference.engine.prefix.tree import Block


class Copy(NamedTuple):
    """Pool positions [position, position + length) are tokens [token, token + length) of a sequence.

    Token t of block b lies at pool position b * size + t; one copy is one slice.
    """

    position: int
    token: int
    length: int


@dataclass(slots=True, frozen=True)
class Match:
    """The longest usable prefix. Valid until something is inserted or evicted, unless held."""

    blocks: list[int]
    """In order; of the last one perhaps only the leading tokens."""
    tokens: int
    size: int
    checkpoint: Checkpoint | None = None
    """The state at exactly `tokens`, when a state was asked for."""

    @property
    def tail(self) -> int:
        """Tokens used of the last block, when not all of them are; else 0."""
        return self.tokens % self.size

    @property
    def copies(self) -> list[Copy]:
        """From the pool into a slot: one per run of consecutive blocks."""
        return list(as_runs(self._pieces()))

    def _pieces(self) -> Iterator[Copy]:
        for i, block in enumerate(self.blocks):
            token = i * self.size
            yield Copy(block * self.size, token, min(self.size, self.tokens - token))


def as_runs(pieces: Iterator[Copy]) -> Iterator[Copy]:
    """Joins pieces that are neighbours in the pool and in the sequence."""
    last: Copy | None = None
    for piece in pieces:
        if last and (last.position + last.length, last.token + last.length) == (piece.position, piece.token):
            last = Copy(last.position, last.token, last.length + piece.length)
            continue
        if last:
            yield last
        last = piece
    if last:
        yield last


@dataclass(slots=True, frozen=True)
class Evicted:
    """A block that lost its place. Its keys and values stay in the pool until an insertion's copies overwrite them."""

    number: int
    key: bytes
    parent: bytes
    """Key of the block, or root, before it."""
    label: bytes
    tokens: int
    """That it holds; fewer than a block has when it ended a prompt or an answer."""
    checkpoints: list[Checkpoint] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Insertion:
    """A planned commit of a sequence's tokens into blocks. First save what is `evicted`, if anyone wants it, then make
    the `copies` from slot to pool, then call `commit`; or `abandon`, if a copy failed."""

    copies: list[Copy] = field(default_factory=list)
    evicted: list[Evicted] = field(default_factory=list)
    tokens: int = 0
    """The sequence is cached up to this token once this and earlier insertions are committed."""
    shortfall: int = 0
    """Blocks that found no place."""
    blocks: list[Block] = field(default_factory=list)
    """The index's own: blocks being written, parents first."""
    grown_from: tuple[bytes, bytes, int] | None = None
    """Key, label and tokens of the first of these before it was filled further."""
    settled: bool = False


class Move(NamedTuple):
    """The content of block `source` belongs in block `target` of the smaller pool."""

    source: int
    target: int


@dataclass(slots=True, frozen=True)
class Shrunk:
    """What making the pool smaller takes: `moves` from the old pool's blocks to the new one's, in any order."""

    capacity: int
    evicted: list[Evicted]
    moves: list[Move]


class Divergence(NamedTuple):
    """A prompt's token `token`, of `tokens`, is the first that differs from what is cached; at least `lost` cached
    tokens follow there and could not be used."""

    token: int
    tokens: int
    lost: int


@dataclass(slots=True)
class Counters:
    """Since the start, except those said to be of now."""

    queries: int = 0
    hits: int = 0
    misses: int = 0
    partial_hits: int = 0
    """Hits that used only the leading tokens of their last block."""
    tokens_asked: int = 0
    tokens_saved: int = 0
    inserted: int = 0
    """Blocks taken from the pool and written."""
    extended: int = 0
    """Partly filled blocks that were written further."""
    deduplicated: int = 0
    """Blocks not written because they were cached."""
    abandoned: int = 0
    """Blocks whose copy failed."""
    evicted: int = 0
    removed: int = 0
    """Blocks that were cleared, or lay behind one whose copy failed."""
    insert_shortfall: int = 0
    """Blocks not cached for want of room."""
    checkpoints_added: int = 0
    checkpoints_dropped: int = 0
    checkpoint_hits: int = 0
    blocks_total: int = 0
    """Of now, as are all below."""
    blocks_used: int = 0
    blocks_shared: int = 0
    """Read in place by two rows or more."""
    blocks_held: int = 0
    blocks_evictable: int = 0
    bytes: int = 0
    """Of the blocks in use."""
    checkpoints: int = 0
    checkpoint_bytes: int = 0
