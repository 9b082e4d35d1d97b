"""Fairness between users: virtual token counters.

Ying Sheng, Shiyi Cao, Dacheng Li, Banghua Zhu, Zhuohan Li, Danyang Zhuo, Joseph E. Gonzalez, Ion Stoica: Fairness in
Serving Large Language Models, OSDI 2024 (arXiv 2401.00588). Each user has a counter of the weighted tokens computed for
them; whoever has the least goes first; who was away starts level with the least of those that wait, so that absence
saves nothing up.

Ours differs in three things. Tokens are counted as they are computed, chunk by chunk, so that a long prompt can be
overtaken in the middle. A class has counters of its own: what a user's batch got at night says nothing about their
chat in the morning. Where nobody waits, the newcomer starts level with the average of those being served (the paper
takes whoever left the queue last): only what happens while users compete is weighed.
"""

from inference.engine.scheduling.entry import Entry
from inference.engine.scheduling.job import CLASSES, Job

INPUT, OUTPUT, CACHED = 1.0, 2.0, 0.05
"""What a token counts: prefilled (the paper's weights), generated, found in the prefix cache."""
CLEARLY = 2048.0
"""Weighted tokens by which one user must have been served less than another to have a row taken back for them."""

Key = tuple[float, bool, int]


class Lane:
    """The requests of one user in one class, and what they have been served."""

    __slots__ = (
        "blocked", "count", "counter", "heap", "klass", "level", "lifted", "order", "pending", "rank", "rows",
        "ticket", "weight",
    )  # fmt: skip

    def __init__(self, klass: int) -> None:
        self.klass = klass
        self.rank = klass
        """The class in which it waits now: ageing raises it, being served brings it back."""
        self.weight = 1.0
        self.counter = 0.0
        """Weighted tokens computed, divided by the user's weight. It never falls."""
        self.pending = 0.0
        """The same for tokens planned in the step that is being planned."""
        self.lifted = 0.0
        """The counter when it last began to wait."""
        self.level = 0.0
        """Once it has aged into a higher class: its standing there, that of a newcomer."""
        self.order = 0
        """When it began to wait or was last served, in the scheduler's own count."""
        self.count = 0
        """Requests waiting; the heap may also hold some that have left."""
        self.heap: list[tuple[bool, float, int, Entry]] = []
        self.rows: dict[str, Entry] = {}
        """Those that prefill or decode, the youngest last."""
        self.ticket = 0
        self.blocked: float | None = None
        """Since when memory has been too short for its next request."""

    @property
    def standing(self) -> float:
        return self.counter + self.pending if self.rank == self.klass else self.level + self.pending

    @property
    def key(self) -> Key:
        """Least first. Among equals those that got nothing since they began to wait, then the one that waits longest.
        It never falls while the lane waits in one class and no step is being planned."""
        return (self.standing, self.counter > self.lifted, self.order)


class Lanes:
    """All lanes, and the level at which a newcomer starts."""

    def __init__(self) -> None:
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._highest = [0.0] * len(CLASSES)
        self.holding: dict[Lane, None] = {}
        """Lanes with rows."""

    def of(self, job: Job) -> Lane:
        """Raises ValueError for a priority that is no class or a weight that is not above 0."""
        klass = CLASSES.index(job.priority)
        if not job.weight > 0:
            raise ValueError(f"a user's weight must be above 0, not {job.weight}")
        lane = self._lanes.get((job.user, klass))
        if lane is None:
            lane = self._lanes[job.user, klass] = Lane(klass)
        lane.weight = job.weight
        return lane

    def charge(self, job: Job, prompt: int, cached: int, output: int) -> None:
        lane = self.of(job)
        lane.counter += (INPUT * prompt + CACHED * cached + OUTPUT * output) / job.weight
        self._highest[lane.klass] = max(self._highest[lane.klass], lane.counter)

    def unqueued_level(self, klass: int) -> float:
        """Where a newcomer starts when nobody of the class waits: level with what those being served have had, on
        average over their rows; with none, with the most that anybody ever had: equal with everyone."""
        rows = served = 0.0
        for lane in self.holding:
            if lane.klass == klass:
                rows += len(lane.rows)
                served += len(lane.rows) * lane.counter
        return served / rows if rows else self._highest[klass]

    def hold(self, entry: Entry) -> None:
        entry.lane.rows[entry.job.id] = entry
        self.holding[entry.lane] = None

    def release(self, entry: Entry) -> None:
        del entry.lane.rows[entry.job.id]
        if not entry.lane.rows:
            del self.holding[entry.lane]

    def forget(self) -> None:
        """Nobody is here: everyone would be lifted to the same level, so nothing needs to be remembered."""
        self._lanes.clear()
        self._highest = [0.0] * len(CLASSES)
