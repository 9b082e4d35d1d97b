"""Random lives of the index against a naive dictionary of prefixes and a pool that remembers what was copied where."""

import random
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

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


class World:
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

    # --- making texts ------------------------------------------------------------------------------------------------

    def text(self, rng):
        """Often a beginning that was there before with another end."""
        root, media, tokens = rng.choice([b"a" * 32, b"b" * 32]), [], []
        if self.texts and rng.random() < 0.8:
            old = rng.choice(self.texts[-12:])
            root, tokens = old.root, old.tokens[: rng.randint(0, len(old.tokens))]
            media = [span for span in old.media if span[1] <= len(tokens)]
        tokens = tokens + [rng.randint(0, 1) for _ in range(rng.randint(0, 14))]
        first = media[-1][1] if media else 0
        if rng.random() < 0.2 and first < len(tokens):
            start = rng.randint(first, len(tokens) - 1)
            media = [*media, (start, rng.randint(start + 1, len(tokens)), rng.choice([b"x", b"y"]))]
        chain = Chain(root, SIZE, media)
        cut = rng.randint(0, len(tokens))
        chain.extend(tokens[:cut])
        chain.extend(tokens[cut:])
        self.texts.append(Text(chain, root, tokens, media, self.names.of(root, tokens, media)))
        return self.texts[-1]

    # --- what can happen ---------------------------------------------------------------------------------------------

    def match(self, text, rng):
        limit = rng.choice([None, rng.randint(0, len(text.tokens))])
        bound = max(0, len(text.tokens) - 1) if limit is None else max(0, min(limit, len(text.tokens) - 1))
        before = self.index.counters()
        found = self.index.match(text.chain, limit)
        after = self.index.counters()
        self.check_content(text, found)
        longest = self.longest(text, bound)
        assert found.tokens == longest if not self.pending else found.tokens <= longest
        assert after.tokens_saved - before.tokens_saved == found.tokens
        assert after.tokens_asked - before.tokens_asked == len(text.tokens)
        assert after.hits + after.misses == after.queries == before.queries + 1
        state = self.index.peek(text.chain, limit, state=True)
        self.check_content(text, state)
        known = [t for t in range(1, longest + 1) if text.prefixes[t - 1] in self.states]
        if not self.pending:
            assert state.tokens == max(known, default=0)
        assert (state.checkpoint is None) == (state.tokens == 0)
        if state.checkpoint:
            assert state.checkpoint.payload == text.prefixes[state.tokens - 1]
        return found

    def hold(self, text, rng):
        found = self.match(text, rng)
        if found.blocks:
            self.index.hold(found.blocks)
            self.held.append((found, text.prefixes[: found.tokens]))

    def release(self, rng):
        if self.held:
            self.index.release(self.held.pop(rng.randrange(len(self.held)))[0].blocks)

    def plan(self, text, rng):
        start = rng.choice([0, 0, rng.randint(0, len(text.tokens))])
        end = rng.choice([len(text.tokens), rng.randint(start, len(text.tokens))])
        insertion = self.index.insert(text.chain, start, end)
        self.gone(insertion.evicted)
        self.shortfalls += insertion.shortfall
        assert sum(copy.length for copy in insertion.copies) <= end - start
        new = {}
        for copy in insertion.copies:
            assert start <= copy.token and copy.token + copy.length <= end
            for i in range(copy.length):
                self.check_writable(copy.position + i)
                number, offset = divmod(copy.position + i, SIZE)
                depth = (copy.token + i) // SIZE
                before = text.prefixes[depth * SIZE - 1] if depth else text.root
                block = new.setdefault(number, (Cached(depth, before), offset))[0]
                block.prefixes.append(text.prefixes[copy.token + i])
        self.pending.append([insertion, text, new])

    def settle(self, rng):
        if not self.pending:
            return
        insertion, text, new = self.pending.pop(rng.randrange(len(self.pending)))
        if rng.random() < 0.3:
            for copy in insertion.copies:
                self.pool[copy.position : copy.position + copy.length] = [GARBAGE] * copy.length
            self.index.abandon(insertion)
            self.purge()
            return
        for copy in insertion.copies:
            self.pool[copy.position : copy.position + copy.length] = text.prefixes[copy.token :][: copy.length]
        self.index.commit(insertion)
        for number, (block, offset) in new.items():
            if offset:
                self.cached[number].prefixes += block.prefixes
            else:
                self.cached[number] = block

    def pin(self, text):
        if text.tokens:
            tokens = self.index.pin(text.chain)
            self.pins[text.prefixes[-1]] = (text, text.prefixes[:tokens])

    def unpin(self, rng):
        if self.pins:
            text, _ = self.pins.pop(rng.choice(sorted(self.pins)))
            assert self.index.unpin(text.chain)
            assert not self.index.unpin(text.chain)

    def evict(self, rng):
        self.gone(self.index.evict(rng.randint(0, 6)))

    def attach(self, text, rng):
        tokens = rng.randint(0, len(text.tokens))
        refused = self.index.attach(text.chain, tokens, text.prefixes[tokens - 1] if tokens else None, 1)
        covered = 0 < tokens <= self.longest(text, tokens)
        if not self.pending:
            assert (not refused) == covered
        if not refused:
            self.states.add(text.prefixes[tokens - 1])

    def grow(self, rng):
        more = rng.randint(0, 4)
        self.index.grow(self.index.capacity + more)
        self.pool += [GARBAGE] * more * SIZE

    def shrink(self, rng):
        if self.pending:
            return
        plan = self.index.shrink(max(1, self.index.capacity - rng.randint(0, 8)))
        self.gone(plan.evicted)
        old, self.pool = self.pool, self.pool[: plan.capacity * SIZE]
        for source, target in plan.moves:
            assert source >= plan.capacity > target
            self.pool[target * SIZE : target * SIZE + SIZE] = old[source * SIZE : source * SIZE + SIZE]
            assert target not in self.cached
            self.cached[target] = self.cached.pop(source)
        assert self.index.capacity == plan.capacity

    def clear(self):
        self.index.clear()
        self.cached.clear()
        self.pins.clear()
        self.states.clear()
        for entry in self.pending:
            entry[2] = {}

    # --- what must hold ----------------------------------------------------------------------------------------------

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

    def finish(self, rng):
        """Everything let go: all blocks come back."""
        while self.pending:
            self.settle(rng)
        while self.held:
            self.release(rng)
        while self.pins:
            self.unpin(rng)
        self.check()
        assert self.index.counters().blocks_evictable == self.index.counters().blocks_used == len(self.cached)
        self.gone(self.index.evict(10**6))
        counts = self.index.counters()
        assert counts.blocks_used == counts.checkpoints == counts.checkpoint_bytes == 0
        assert not self.cached and self.index.available == self.index.capacity

    def act(self, rng):
        """One of the things that can happen, as often as its weight says."""
        kinds = ["match", "plan", "settle", "hold", "release", "evict", "attach", "pin", "unpin", "grow", "shrink"]
        kind = rng.choices([*kinds, "clear"], [40, 30, 30, 10, 10, 3, 6, 2, 2, 0.2, 0.2, 0.1])[0]
        match kind:
            case "match" | "hold" | "plan" | "attach":
                getattr(self, kind)(self.text(rng), rng)
            case "pin":
                self.pin(self.text(rng))
            case "clear":
                self.clear()
            case _:
                getattr(self, kind)(rng)
        if len(self.pending) > 3:
            self.settle(rng)
        if len(self.held) > 4:
            self.release(rng)
        if len(self.pins) > 2:
            self.unpin(rng)
        del self.texts[:-12]


randoms = st.randoms(use_true_random=False)


class Lives(RuleBasedStateMachine):
    """Hypothesis looks for the shortest life that goes wrong."""

    def __init__(self):
        super().__init__()
        self.world = World(capacity=9)

    @rule(rng=randoms)
    def match(self, rng):
        self.world.match(self.world.text(rng), rng)

    @rule(rng=randoms)
    def plan(self, rng):
        self.world.plan(self.world.text(rng), rng)

    @rule(rng=randoms)
    def settle(self, rng):
        self.world.settle(rng)

    @rule(rng=randoms)
    def hold(self, rng):
        self.world.hold(self.world.text(rng), rng)

    @rule(rng=randoms)
    def release(self, rng):
        self.world.release(rng)

    @rule(rng=randoms)
    def pin(self, rng):
        self.world.pin(self.world.text(rng))

    @rule(rng=randoms)
    def unpin(self, rng):
        self.world.unpin(rng)

    @rule(rng=randoms)
    def evict(self, rng):
        self.world.evict(rng)

    @rule(rng=randoms)
    def attach(self, rng):
        self.world.attach(self.world.text(rng), rng)

    @rule(rng=randoms)
    def resize(self, rng):
        rng.choice([self.world.grow, self.world.shrink])(rng)

    @rule()
    def clear(self):
        self.world.clear()

    @invariant()
    def holds(self):
        self.world.check()

    def teardown(self):
        self.world.finish(random.Random(0))


TestLives = Lives.TestCase
TestLives.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_a_hundred_thousand_operations():
    rng = random.Random(7)
    for life in range(10):
        world = World(capacity=rng.randint(1, 40), reserve=life % 2 / 8)
        for step in range(10_000):
            world.act(rng)
            if step % 50 == 0:
                world.check()
        world.finish(rng)
