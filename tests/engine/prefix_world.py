"""What can happen to the index, each with what must come of it."""

from inference.engine.prefix.keys import Chain
from tests.engine.prefix_known import GARBAGE, SIZE, Cached, Known, Text


class World(Known):
    """rng: what chooses."""

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
