"""How the batch opens and closes rows, and what a prefix cache may add to that."""

from inference.engine.kv.banks import Row
from inference.engine.kv.capacity import HEADROOM
from inference.engine.kv.store import Store
from inference.engine.prefix.records import Counters, Divergence
from inference.engine.sequence import Sequence


class Rows:
    """Opens and closes rows without caching anything: --cache-strategy off, and models that can't batch."""

    def __init__(self, store: Store):
        self.store = store

    def admit(self, sequence: Sequence) -> None:
        """It is in the engine from now on, waiting or not."""

    def forget(self, sequence: Sequence) -> None:
        """It has left the engine."""

    def keep(self, client: bytes, prefixes: list[tuple[int, ...]]) -> None:
        """What is cached of these beginnings of prompts stays; of others that this client named before it may go."""

    def estimate(self, sequence: Sequence) -> int:
        """How many of its tokens would be found now."""
        return 0

    def look_up(self, sequence: Sequence) -> int:
        """The same, for one that has not been admitted."""
        return 0

    def held(self, sequence: Sequence) -> bool:
        """Whether it should wait: another sequence is computing what it could take over."""
        return False

    def entering(self, sequence: Sequence) -> None:
        """It is about to be opened."""

    def withdraw(self, sequence: Sequence) -> None:
        """It waits again, opened or not."""

    def open(self, sequence: Sequence) -> Row:
        """A row with all that is cached of the sequence; `prefilled` says how much that is."""
        sequence.prefilled = 0
        return self.store.open(room_for(sequence))

    def stops(self, sequence: Sequence, start: int, end: int) -> list[int]:
        """Positions in (start, end] at which the prefill has to pause for `commit`, `end` included."""
        return [end]

    def commit(self, sequence: Sequence) -> None:
        """A chunk of it is prefilled."""

    def prefilled(self, sequence: Sequence) -> None:
        """All of it is: it is about to join, or has joined with the step that did it."""

    def ended(self, sequence: Sequence) -> None:
        """It will not decode any further, or not for now."""

    def close(self, sequence: Sequence, *, scrub: bool = False) -> None:
        self.store.close(sequence.row, scrub=scrub)
        sequence.row = None

    def overdue(self, rows: list[Sequence]) -> bool:
        """Whether `catch_up` must not wait any longer."""
        return False

    def catch_up(self, rows: list[Sequence]) -> None:
        """Between two steps: caches what decoding rows would lose."""

    def divergence(self, sequence: Sequence) -> Divergence | None:
        return None

    def rest(self) -> bool:
        """Called again and again while nobody wants anything, until there is nothing left to do."""
        return False

    def shut(self) -> None:
        """The engine ends."""

    def counters(self) -> Counters:
        return Counters()

    def tier_counters(self) -> dict[str, int | bool]:
        """What the SSD tier counts; nothing without one."""
        return {}

    @property
    def nbytes(self) -> int:
        """Of the pool, used or not."""
        return 0


def room_for(sequence: Sequence) -> int:
    """Tokens that a new row should have room for: all that is known, some of the answer, the step that runs ahead."""
    left = max(0, sequence.max_tokens - len(sequence.output))
    return sequence.context + min(HEADROOM, left) + 1
