"""The paged prefix cache as the batch uses it: what a sequence finds cached, and what it leaves behind."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from time import perf_counter

from inference.engine.kv.banks import Row, Shared
from inference.engine.kv.copies import restore, save
from inference.engine.kv.pool import Pool
from inference.engine.kv.rows import Rows, room_for
from inference.engine.kv.spill import Spill
from inference.engine.kv.store import Store
from inference.engine.prefix.blocks import BlockIndex
from inference.engine.prefix.keys import Chain, chain, root
from inference.engine.prefix.records import Counters, Divergence, Match
from inference.engine.prefix.tier import Tier
from inference.engine.sequence import Sequence

log = logging.getLogger(__name__)

SHARED_TOKENS = 256
"""A prefix shorter than this is copied into every row: reading it together would save too little."""
SHARED_RUNS = 4
"""A prefix in more pieces than this is copied, too: each piece is a product of its own in every layer."""
FIRST_BLOCKS = 256
EVERYBODY = "\0everybody"
"""The salt of what all share; no client's is like it."""
KEPT_SHARE = 0.5
"""Of the pool, what may be kept for beginnings of prompts: others have to have room, too."""
STATE_EVERY = 1024
"""Tokens of prompt between two state checkpoints, beside those at the ends of turns."""
STATE_TURNS = 2
"""Ends of turns in a prompt, from the last one back, that get a state checkpoint."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What keys and values depend on besides the tokens."""

    model: str
    revision: str = ""
    adapter: str = ""


class PrefixCache(Rows):
    """Blocks in a pool, named by their content.

    max_blocks: how far the pool may grow. share: rows may read a prefix where it lies in the pool. turn_ends: the
    tokens that end a turn, where models with states get their checkpoints.
    """

    def __init__(
        self,
        store: Store,
        identity: Identity,
        *,
        block: int,
        max_blocks: int,
        state_bytes: int,
        share: bool,
        tier: Tier | None = None,
        bits: int | None = None,
        turn_ends: Iterable[int] = (),
    ):
        super().__init__(store)
        self._layout = store.layout
        self._identity = identity
        self._max_blocks = max_blocks
        self._bits = bits
        self._turn_ends = frozenset(turn_ends)
        first = min(FIRST_BLOCKS, max_blocks)
        self.pool = Pool(self._layout, first * block, bits=bits)
        store.pool = self.pool
        self._share = share and self.pool.in_place
        self.index = BlockIndex(
            block, first, block_bytes=block * self._layout.token_bytes, checkpoint_budget=state_bytes
        )
        self._has_state = bool(self._layout.states)
        self._spill = Spill(tier, self.index, self.pool, self._layout) if tier else None
        self._wanted: Counter[bytes] = Counter()
        """How many sequences in the engine have this block in their prompt."""
        self._prefilling: dict[str, Sequence] = {}
        self._stops: dict[str, set[int]] = {}
        """Positions at which a state is wanted, by sequence."""
        self._shared: dict[tuple[int, ...], Shared] = {}
        self._roots: dict[str, bytes] = {}
        self._keeping: dict[bytes, list[tuple[int, ...]]] = {}
        """Beginnings of prompts that are to stay, by who wants that."""
        self._kept: dict[tuple[int, ...], int] = {}
        """How many tokens of each are pinned."""

    # --- before it runs ----------------------------------------------------------------------------------------------

    def admit(self, sequence: Sequence) -> None:
        sequence.chain = chain = self._chain(sequence)
        self._wanted.update(chain.keys)
        if self._has_state:
            self._stops[sequence.id] = self._state_stops(sequence.prompt)
            if 0 < sequence.shared < len(sequence.prompt):
                self._stops[sequence.id].add(sequence.shared)
        if self._spill:
            self._spill.ask(sequence, self.estimate(sequence))

    def _chain(self, sequence: Sequence) -> Chain:
        """Of its prompt."""
        media = sequence.seen.media if sequence.seen else ()
        if sequence.shared:
            own = (sequence.shared, sequence.salt.encode())
            chain = Chain(self._root(EVERYBODY), self.index.size, media, own=own)
        else:
            chain = Chain(self._root(sequence.salt), self.index.size, media)
        chain.extend(sequence.prompt)
        return chain

    def look_up(self, sequence: Sequence) -> int:
        return self.index.peek(self._chain(sequence), sequence.context - 1, state=self._has_state).tokens

    def keep(self, client: bytes, prefixes: list[tuple[int, ...]]) -> None:
        self._keeping[client] = prefixes
        wanted = {prefix for each in self._keeping.values() for prefix in each}
        for prefix in [prefix for prefix in self._kept if prefix not in wanted]:
            self.index.unpin(self._common(prefix), self._kept.pop(prefix))

    def forget(self, sequence: Sequence) -> None:
        if sequence.chain is None:
            return
        self._prefilling.pop(sequence.id, None)
        self._stops.pop(sequence.id, None)
        if self._spill:
            self._spill.forget(sequence)
        for key in sequence.chain.keys[: len(sequence.prompt) // self.index.size]:
            self._wanted[key] -= 1
            if not self._wanted[key]:
                del self._wanted[key]
        sequence.chain = None

    def estimate(self, sequence: Sequence) -> int:
        return self.index.peek(sequence.chain, sequence.context - 1, state=self._has_state).tokens

    def held(self, sequence: Sequence) -> bool:
        if self._spill and self._spill.waits(sequence, perf_counter()):
            return True
        known: int | None = None
        for leader in self._prefilling.values():
            if leader is sequence:
                # Those behind it wait for it, not it for them.
                return False
            if leader.chain.root != sequence.chain.root:
                continue
            common = min(shared_tokens(leader.chain, sequence.chain), sequence.context - 1, leader.context - 1)
            # The block that the two part in is written when the leader has filled it.
            there = min(-(-common // self.index.size) * self.index.size, leader.context - 1)
            if leader.prefilled >= there:
                continue
            if known is None:
                known = self.estimate(sequence)
            gain = common - known
            # A few tokens that all prompts begin with are no reason to wait, the last few of a shared prefix are.
            if gain <= 0 or (gain < self.index.size and not (known and leader.prefilled >= common - self.index.size)):
                continue
            if self._has_state:
                if leader.prefilled > common:
                    continue
                self._stops[leader.id].add(common)
            return True
        return False

    def divergence(self, sequence: Sequence) -> Divergence | None:
        return self.index.divergence(sequence.chain)

    # --- its row -----------------------------------------------------------------------------------------------------

    def entering(self, sequence: Sequence) -> None:
        self._prefilling[sequence.id] = sequence

    def withdraw(self, sequence: Sequence) -> None:
        self._prefilling.pop(sequence.id, None)

    def open(self, sequence: Sequence) -> Row:
        # After a preemption it prefills what it said, too, and a row that was poisoned has not told the chain.
        self._learn(sequence)
        if self._spill:
            self._make_room(len(sequence.chain.keys))
            self._spill.load(sequence)
        match = self.index.match(sequence.chain, sequence.context - 1, state=self._has_state)
        shared = self._find_shared(sequence, match)
        base = shared.length if shared else 0
        row = self.store.open(room_for(sequence) - base, shared)
        if shared:
            self.index.hold(shared.blocks)
        restore(self.store, row, match.copies, match.tokens)
        if match.checkpoint is not None:
            for leaf, arrays in match.checkpoint.payload.items():
                row.private[leaf].cache = list(arrays)
        row.own = match.tokens - base
        row.committed = match.tokens
        sequence.prefilled = match.tokens
        return row

    def stops(self, sequence: Sequence, start: int, end: int) -> list[int]:
        wanted = self._stops.get(sequence.id, ())
        return [*sorted(stop for stop in wanted if start < stop < end), end]

    def commit(self, sequence: Sequence) -> None:
        done = sequence.prefilled
        if self._has_state and done in self._stops[sequence.id]:
            self._save(sequence, done)
            self._checkpoint(sequence, done)
        else:
            # With its last chunk all of it: others may be waiting for exactly that, before this one joins the batch.
            whole = done // self.index.size * self.index.size
            self._save(sequence, whole if done < len(sequence.chain) - 1 else done)

    def prefilled(self, sequence: Sequence) -> None:
        self._prefilling.pop(sequence.id, None)
        self._save(sequence, sequence.prefilled)
        self._checkpoint(sequence, sequence.prefilled)
        if sequence.shared:
            self._pin(sequence.prompt[: sequence.shared])
        self._lean(sequence)

    def ended(self, sequence: Sequence) -> None:
        row = sequence.row
        self._prefilling.pop(sequence.id, None)
        known = min(row.length, sequence.context)
        self._learn(sequence)
        self._save(sequence, known)
        if known == row.length:
            self._checkpoint(sequence, known)

    def close(self, sequence: Sequence, *, scrub: bool = False) -> None:
        self._prefilling.pop(sequence.id, None)
        shared = sequence.row.bank.shared
        super().close(sequence, scrub=scrub)
        if shared:
            self.index.release(shared.blocks)
            if not any(bank.shared is shared and not bank.empty for bank in self.store.banks):
                self._shared.pop(shared.blocks, None)

    def overdue(self, rows: list[Sequence]) -> bool:
        window = self._layout.shortest_window
        return bool(window) and any(row.row.length - row.row.committed > window // 2 for row in rows)

    def catch_up(self, rows: list[Sequence]) -> None:
        window = self._layout.shortest_window
        if not window:
            return
        for sequence in rows:
            if sequence.row.length - sequence.row.committed > window // 4:
                self._learn(sequence)
                known = min(sequence.row.length, sequence.context)
                whole = known // self.index.size * self.index.size
                # A window narrower than two blocks forgets a block's first tokens before its last are there.
                self._save(sequence, whole if whole > sequence.row.committed else known)

    def rest(self) -> bool:
        """Copies blocks to the tier before they have to go: then they outlive this process, too."""
        return self._spill is not None and self._spill.copy_some()

    def shut(self) -> None:
        if self._spill:
            self._spill.shut()

    def counters(self) -> Counters:
        return self.index.counters()

    def tier_counters(self) -> dict[str, int | bool]:
        return asdict(self._spill.tier.counters()) if self._spill else {}

    @property
    def nbytes(self) -> int:
        return self.pool.nbytes

    # --- inside ------------------------------------------------------------------------------------------------------

    def _root(self, salt: str) -> bytes:
        if salt not in self._roots:
            kind = f"{self._layout.kinds}/{self._bits or 16}"
            identity = self._identity
            self._roots[salt] = root(
                model=identity.model, revision=identity.revision, adapter=identity.adapter, kv=kind, salt=salt
            )
        return self._roots[salt]

    def _common(self, prefix: tuple[int, ...]) -> Chain:
        return chain(self._root(EVERYBODY), prefix, self.index.size)

    def _pin(self, shared: list[int]) -> None:
        """Of the beginnings that are to stay, the one that this is: what is cached of it by now."""
        for prefix in {prefix for each in self._keeping.values() for prefix in each}:
            known = self._kept.get(prefix, 0)
            if known >= len(shared) or prefix[: len(shared)] != tuple(shared):
                continue
            tokens = sum(self._kept.values()) - known + len(shared)
            if tokens > KEPT_SHARE * self._max_blocks * self.index.size:
                log.warning("the cache is too small to keep %d tokens of shared prefixes in it", tokens)
                continue
            whole = self._common(prefix)
            if self.index.pin(whole, len(shared)) < len(shared):
                # It found no room: the next prompt that begins so tries again.
                self.index.unpin(whole, len(shared))
                continue
            if known:
                self.index.unpin(whole, known)
            self._kept[prefix] = len(shared)

    def _learn(self, sequence: Sequence) -> None:
        """Brings the chain up to what the sequence has said."""
        said = len(sequence.chain) - len(sequence.prompt)
        sequence.chain.extend(sequence.output[said:])

    def _save(self, sequence: Sequence, end: int) -> None:
        """Caches the sequence's tokens before `end`, as far as its row still holds them."""
        row = sequence.row
        start = self.store.holds_from(row)
        if end <= max(start, row.committed):
            return
        self._make_room(-(-(end - row.committed) // self.index.size) + 1)
        insertion = self.index.insert(sequence.chain, start, end)
        if self._spill:
            self._spill.save(insertion.evicted)
        try:
            save(self.store, row, insertion.copies)
        except BaseException:
            self.index.abandon(insertion)
            raise
        self.index.commit(insertion)
        row.committed = end

    def _checkpoint(self, sequence: Sequence, tokens: int) -> None:
        if self._has_state and tokens:
            states = self.store.state_of(sequence.row)
            self.index.attach(sequence.chain, tokens, states, self._layout.state_bytes)

    def _make_room(self, blocks: int) -> None:
        """Grows the pool before anything is evicted for want of room."""
        counters = self.index.counters()
        capacity = self.index.capacity
        if counters.blocks_used + blocks <= capacity or capacity >= self._max_blocks:
            return
        grown = min(self._max_blocks, max(capacity * 2, counters.blocks_used + blocks))
        self.pool.grow(grown * self.index.size)
        self.index.grow(grown)

    def _find_shared(self, sequence: Sequence, match: Match) -> Shared | None:
        """The part of what is cached that others in the engine have in their prompts as well."""
        if not self._share:
            return None
        keys = sequence.chain.keys[: match.tokens // self.index.size]
        common = 0
        while common < len(keys) and self._wanted[keys[common]] > 1:
            common += 1
        if common * self.index.size < SHARED_TOKENS:
            return None
        blocks = tuple(match.blocks[:common])
        known = self._shared.get(blocks)
        if known is None:
            runs: list[tuple[int, int]] = []
            for block in blocks:
                first = block * self.index.size
                if runs and runs[-1][1] == first:
                    runs[-1] = (runs[-1][0], first + self.index.size)
                else:
                    runs.append((first, first + self.index.size))
            if len(runs) > SHARED_RUNS:
                return None
            known = self._shared[blocks] = Shared(blocks, tuple(runs), common * self.index.size)
        return known

    def _lean(self, sequence: Sequence) -> None:
        """A row that has computed what others want gives its own copy up, and reads the cached one with them."""
        row = sequence.row
        if row.base:
            return
        match = self.index.peek(sequence.chain, sequence.prefilled)
        shared = self._find_shared(sequence, match)
        if shared is None:
            return
        leaning = self.store.open(room_for(sequence) - shared.length, shared)
        self.index.hold(shared.blocks)
        self.store.hand_over(row, leaning)
        sequence.row = leaning

    def _state_stops(self, prompt: list[int]) -> set[int]:
        ends = [place + 1 for place, token in enumerate(prompt) if token in self._turn_ends][-STATE_TURNS:]
        if self._spill:
            # On disk are whole blocks: within one, a state is only found again while the other half is in memory.
            ends += [end // self.index.size * self.index.size for end in ends]
        return {*ends, *range(STATE_EVERY, len(prompt) - 1, STATE_EVERY)}


def shared_tokens(one: Chain, other: Chain) -> int:
    """Length of the common prefix of two sequences with the same root."""
    low, high = 0, min(len(one.keys), len(other.keys))
    while low < high:
        middle = (low + high + 1) // 2
        if one.keys[middle - 1] == other.keys[middle - 1]:
            low = middle
        else:
            high = middle - 1
    mine, theirs = one.label(low), other.label(low)
    alike = 0
    while alike < min(len(mine), len(theirs)) and mine[alike] == theirs[alike]:
        alike += 1
    return low * one.size + one.tokens_within(low, alike)
