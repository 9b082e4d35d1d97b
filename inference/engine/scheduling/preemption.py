"""Who has to make room, and for whom. Rules over lanes; nothing is changed here."""

from collections.abc import Callable, Iterable, Iterator

from inference.engine.scheduling.entry import Entry, Place
from inference.engine.scheduling.fairness import CLEARLY, Lane


def least_deserving(entries: Iterable[Entry]) -> Entry | None:
    """Who goes when the running rows outgrow the memory: the youngest row of the most served user of the lowest class;
    one that only just came back if there is no other."""
    return max(
        entries,
        key=lambda entry: (not entry.protected, entry.rank, entry.standing, entry.order),
        default=None,
    )


class Candidates:
    """The lanes with rows, ranked once for all the searches of a step; stale as soon as a row comes or goes."""

    def __init__(self, holding: Iterable[Lane]):
        self._lanes = sorted(holding, key=lambda lane: (lane.klass, lane.counter + lane.pending), reverse=True)
        self._highest: dict[int, float] = {}
        self._spare: dict[int, float] = {}
        """By class, the most rows that a user would keep after losing one, by weight."""
        for lane in self._lanes:
            self._highest.setdefault(lane.klass, lane.counter + lane.pending)
            spare = (len(lane.rows) - 1) / lane.weight
            self._spare[lane.klass] = max(self._spare.get(lane.klass, 0.0), spare)

    def victims(self, waiting: Lane, kept: set[str], *, prefilling: bool) -> Iterator[Entry]:
        """Rows that may be taken for the lane's next request, in the order in which to take them: the heaviest user's
        youngest first, then their next as long as the rule still allows it, then the next user's.

        `kept` are the rows with a part in this step already. `prefilling`: only those that prefill.
        """
        hopeless = self._is_hopeless(waiting)
        for lane in self._lanes:
            if lane.klass < waiting.klass or (hopeless and lane.klass == waiting.klass):
                return
            if lane is waiting:
                continue
            taken = 0
            for entry in reversed(lane.rows.values()):
                if not _may_take(waiting, entry, taken):
                    break
                if entry.protected or entry.job.id in kept or (prefilling and entry.place is not Place.PREFILLING):
                    continue
                taken += 1
                yield entry

    def _is_hopeless(self, waiting: Lane) -> bool:
        """No row of the same class can be taken: the usual answer when all rows are in use, so it is given fast."""
        klass = waiting.klass
        if self._highest.get(klass, 0.0) - waiting.counter - waiting.pending >= CLEARLY:
            return False
        return bool(waiting.rows) or self._spare.get(klass, 0.0) < 1 / waiting.weight


def _may_take(waiting: Lane, victim: Entry, taken: int) -> bool:
    """A lower class gives way, unless it has aged its way up; a higher one never does. Within a class a row is taken

    - for a user who has no row and was not served clearly more, or has some and was served clearly less, from one who
      keeps at least the same share of rows, by weight: so equal users end with equal rows, and stay there;
    - for a user without a row from one who was served clearly more, whatever it has: so that with few rows users take
      turns. The one then waits until the other has been served clearly more: no ping-pong.
    """
    lane = victim.lane
    if lane.klass > waiting.klass:
        return victim.rank > waiting.rank
    ahead = lane.counter + lane.pending - (waiting.counter + waiting.pending)
    if not waiting.rows and ahead >= CLEARLY:
        return True
    if ahead < (CLEARLY if waiting.rows else -CLEARLY):
        return False
    keeps = (len(lane.rows) - taken - 1) / lane.weight
    return keeps >= (len(waiting.rows) + 1) / waiting.weight


def enough(
    found: Iterable[Entry], *, at_least: int, fits: Callable[[list[str]], bool], at_most: int
) -> list[Entry] | None:
    """The first so many of the victims found, until the memory suffices too; None if they don't."""
    chosen: list[Entry] = []
    iterator = iter(found)
    while len(chosen) < at_least or not fits([entry.job.id for entry in chosen]):
        entry = next(iterator, None)
        if entry is None or len(chosen) == at_most:
            return None
        chosen.append(entry)
    return chosen
