"""What is known of the index without asking it, and what must hold: a naive dictionary of prefixes, and a pool that
remembers what was copied where."""

from dataclasses import dataclass, field

from inference.engine.prefix.blocks import BlockIndex
from inference.engine.prefix.keys import Chain

SIZE = 4
GARBAGE = -1


class Prefixes:
    """The naive dictionary: every prefix that ever was has a number of its own."""

    def __init__(self):
        self.numbers = {}

    def of(self, root, tokens, media):
        """One number per token: that of the prefix ending with it."""
        found, last = [], root
        for i, token in enumerate(tokens):
            covers = tuple(span for span in media if span[0] <= i < span[1])
            last = self.numbers.setdefault((last, token, covers), len(self.numbers))
            found.append(last)
        return found


@dataclass
class Text:
    chain: Chain
    root: bytes
    tokens: list
    media: list
    prefixes: list


@dataclass
class Cached:
    """What the naive model knows of a block: the prefix before it and those of its tokens."""

    depth: int
    before: object
    prefixes: list = field(default_factory=list)


class Known:
    """The index, a pool, and what the pool should hold."""

    def __init__(self, capacity=24, reserve=0.0):
        self.index = BlockIndex(SIZE, capacity, block_bytes=10, checkpoint_budget=10**9, reserve=reserve)
        self.pool = [GARBAGE] * capacity * SIZE
        self.names = Prefixes()
        self.cached = {}
        self.pending = []
        self.held = []
        self.pins = {}
        self.states = set()
        self.texts = []
        self.shortfalls = 0

    def check_content(self, text, found):
        assert len(found.blocks) == -(-found.tokens // SIZE)
        read = [self.pool[block * SIZE + i] for block in found.blocks for i in range(SIZE)][: found.tokens]
        assert read == text.prefixes[: found.tokens]
        copied = [None] * found.tokens
        for copy in found.copies:
            copied[copy.token : copy.token + copy.length] = self.pool[copy.position : copy.position + copy.length]
        assert copied == text.prefixes[: found.tokens]

    def check_writable(self, position):
        """Nobody reads it, caches it or is about to write it."""
        number, offset = divmod(position, SIZE)
        assert position < len(self.pool)
        assert number not in self.cached or offset >= len(self.cached[number].prefixes)
        for found, _ in self.held:
            if number in found.blocks:
                assert offset >= min(SIZE, found.tokens - found.blocks.index(number) * SIZE)
        for insertion, _, _ in self.pending:
            assert all(not c.position <= position < c.position + c.length for c in insertion.copies)

    def gone(self, evicted):
        held = {number for found, _ in self.held for number in found.blocks}
        writing = {block.number for insertion, _, _ in self.pending for block in insertion.blocks}
        for block in evicted:
            assert block.number not in held | writing
            lost = self.cached.pop(block.number)
            assert block.tokens == len(lost.prefixes)
            assert all(other.before != lost.prefixes[-1] for other in self.cached.values()), "a parent went first"
        pinned = {prefix for _, prefixes in self.pins.values() for prefix in prefixes}
        assert not evicted or pinned <= {prefix for block in self.cached.values() for prefix in block.prefixes}
        self.purge_states()

    def purge(self):
        """What hung on blocks that were never written is gone too."""
        while True:
            blocks = [*self.cached.values(), *(block for _, _, new in self.pending for block, _ in new.values())]
            ends = {block.prefixes[-1] for block in blocks}
            roots = (bytes,)
            lost = [n for n, b in self.cached.items() if not isinstance(b.before, roots) and b.before not in ends]
            for number in lost:
                del self.cached[number]
            dropped = 0
            for entry in self.pending:
                kept = {
                    n: (b, offset)
                    for n, (b, offset) in entry[2].items()
                    if offset or isinstance(b.before, roots) or b.before in ends
                }
                dropped += len(entry[2]) - len(kept)
                entry[2] = kept
            if not lost and not dropped:
                break
        self.purge_states()

    def purge_states(self):
        if self.states:
            writing = [block for _, _, new in self.pending for block, _ in new.values()]
            self.states &= {prefix for block in [*self.cached.values(), *writing] for prefix in block.prefixes}

    def longest(self, text, bound):
        tokens = 0
        by_before = {}
        for block in self.cached.values():
            by_before.setdefault(block.before, []).append(block)
        before = text.root
        while True:
            depth, best, full = tokens // SIZE, 0, False
            for block in by_before.get(before, ()):
                rest = text.prefixes[depth * SIZE : bound]
                shared = 0
                while shared < min(len(rest), len(block.prefixes)) and rest[shared] == block.prefixes[shared]:
                    shared += 1
                best, full = max(best, shared), full or shared == SIZE
            tokens += best
            if not full:
                return tokens
            before = text.prefixes[tokens - 1]

    def check(self):
        counts = self.index.counters()
        for found, prefixes in self.held:
            read = [self.pool[block * SIZE + i] for block in found.blocks for i in range(SIZE)]
            assert read[: found.tokens] == prefixes, "what a row reads in place was overwritten"
        refs = {}
        for found, _ in self.held:
            for number in found.blocks:
                refs[number] = refs.get(number, 0) + 1
        assert counts.blocks_held == len(refs)
        assert counts.blocks_shared == sum(count > 1 for count in refs.values())
        assert counts.blocks_used <= counts.blocks_total == self.index.capacity
        assert counts.bytes == counts.blocks_used * 10
        assert counts.insert_shortfall == self.shortfalls
        if not self.pending:
            left = counts.inserted - counts.evicted - counts.removed
            assert left == len(self.cached)
            assert counts.blocks_used == len(self.cached.keys() | refs.keys())
            assert counts.checkpoints == len(self.states)
            assert counts.checkpoints_added - counts.checkpoints_dropped == len(self.states)
        for block in self.cached.values():
            assert isinstance(block.before, bytes) or any(
                other.prefixes[-1] == block.before
                for other in [*self.cached.values(), *(b for _, _, new in self.pending for b, _ in new.values())]
            )
