"""The queue: for each user and class a heap of requests, for each class a heap of users. Nothing walks the queue."""

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count

from inference.engine.scheduling.entry import Entry, Place
from inference.engine.scheduling.fairness import CLEARLY, Key, Lane, Lanes
from inference.engine.scheduling.job import CLASSES

CLASS_AGEING = 30.0
"""Seconds after which a user's next request rises a class, if none of theirs in its class was admitted meanwhile. One
does at a time: a night's batch does not become interactive all at once."""
AGEING_RETRY = 3.0
"""Seconds after which it is looked at again, when others of its class should rise first."""
PEEK = 4
"""Requests of a user whose cached prefix is looked up to find the one with the least left to compute."""
HELD_PEEK = 16
"""Requests of a user that may be passed over in a step because they wait for another's prefix."""


class Ladder:
    """The lanes that wait in one class, least served first.

    Keys in the heap may be out of date, but as a key only ever rises, the top is right once it is up to date.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[Key, int, Lane]] = []

    def push(self, lane: Lane) -> None:
        """From now on, and wherever it was before no longer."""
        lane.ticket += 1
        heappush(self._heap, (lane.key, lane.ticket, lane))

    def peek(self) -> Lane | None:
        while self._heap:
            key, ticket, lane = self._heap[0]
            if lane.ticket != ticket:
                heappop(self._heap)
            elif lane.key != key:
                heapreplace(self._heap, (lane.key, ticket, lane))
            else:
                return lane
        return None


class Waiting:
    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._ladders = [Ladder() for _ in CLASSES]
        self._rises: list[tuple[float, int, Lane]] = []
        self._risen: list[dict[Lane, None]] = [{} for _ in CLASSES]
        """By their own class, those that wait in a higher one."""
        self._next = count(1).__next__
        self._entries: dict[str, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def put(self, entry: Entry, now: float, *, front: bool = False) -> None:
        """Queues it. `front`, for one that was preempted: before all others of its user, in the class that it had."""
        lane = entry.lane
        entry.place = Place.WAITING
        entry.order = self._next()
        self._entries[entry.job.id] = entry
        if not lane.count:
            if not front:
                lane.counter = max(lane.counter, self.level(lane.klass))
            self._line_up(lane, now)
        if front and entry.rank < lane.rank:
            self._raise(lane, entry.rank)
        lane.count += 1
        heappush(lane.heap, (not front, entry.job.received if front else entry.urgency, entry.order, entry))

    def level(self, klass: int) -> float:
        """The counter with which a user starts who did not wait until now."""
        least = self._ladders[klass].peek()
        return self._lanes.unqueued_level(klass) if least is None else least.standing

    def best(self) -> Lane | None:
        """Whose turn it is."""
        for ladder in self._ladders:
            lane = ladder.peek()
            if lane is not None:
                return lane
        return None

    def put_aside(self, lane: Lane) -> None:
        """`best` passes over it until `bring_back`."""
        lane.ticket += 1

    def bring_back(self, lane: Lane) -> None:
        if lane.count:
            self._ladders[lane.rank].push(lane)

    def head(self, lane: Lane) -> Entry:
        """The lane's next request, held or not. The lane has one."""
        while not self._is_current(lane.heap[0]):
            heappop(lane.heap)
        return lane.heap[0][3]

    def choose(
        self, lane: Lane, held: Callable[[Entry], bool], cached: Callable[[Entry], int]
    ) -> tuple[Entry, int] | None:
        """The lane's next request and how much of its prompt is cached: the one with the least left to compute among
        the first few that are not held. None if all that were looked at are held."""
        seen: list[tuple[bool, float, int, Entry]] = []
        best: tuple[float, Entry, int] | None = None
        open_ones = 0
        while lane.heap and open_ones < PEEK and len(seen) < HELD_PEEK:
            item = heappop(lane.heap)
            if not self._is_current(item):
                continue
            seen.append(item)
            ordinary, urgency, _, entry = item
            if held(entry):
                continue
            open_ones += 1
            saved = cached(entry)
            if best is None or urgency - saved < best[0]:
                best = (urgency - saved, entry, saved)
            if not ordinary:
                break
        for item in seen:
            heappush(lane.heap, item)
        return None if best is None else best[1:]

    def take(self, entry: Entry, now: float) -> None:
        """It is admitted: the user's next one lines up anew."""
        lane = entry.lane
        self.discard(entry)
        entry.rank, entry.level = lane.rank, lane.level
        entry.order = self._next()
        lane.blocked = None
        if lane.count:
            self._line_up(lane, now)

    def discard(self, entry: Entry) -> None:
        """It leaves the queue for whatever reason; whoever takes it sets its place."""
        lane = entry.lane
        del self._entries[entry.job.id]
        entry.place = Place.GONE
        lane.count -= 1
        if not lane.count:
            lane.ticket += 1
            lane.blocked = None
            lane.heap.clear()
            self._risen[lane.klass].pop(lane, None)
        elif len(lane.heap) > 2 * lane.count + 16:
            lane.heap = [item for item in lane.heap if self._is_current(item)]
            heapify(lane.heap)

    def age(self, now: float) -> None:
        """Lets those rise whose time has come. In the class above, a user stands where a newcomer would; who was
        clearly served more than another of the class waits with rising until the other has caught up."""
        least: dict[int, float] = {}
        while self._rises and self._rises[0][0] <= now:
            _, order, lane = heappop(self._rises)
            if lane.order != order or not lane.count or lane.rank == 0:
                continue
            if lane.klass not in least:
                least[lane.klass] = min(
                    self.level(lane.klass), *(other.counter for other in (lane, *self._risen[lane.klass]))
                )
            if lane.counter <= least[lane.klass] + CLEARLY:
                self._raise(lane, lane.rank - 1)
                heappush(self._rises, (now + CLASS_AGEING, order, lane))
            else:
                heappush(self._rises, (now + AGEING_RETRY, order, lane))

    def _line_up(self, lane: Lane, now: float) -> None:
        lane.rank = lane.klass
        self._risen[lane.klass].pop(lane, None)
        lane.lifted = lane.counter
        lane.order = self._next()
        self._ladders[lane.rank].push(lane)
        if lane.rank > 0:
            heappush(self._rises, (now + CLASS_AGEING, lane.order, lane))

    def _raise(self, lane: Lane, rank: int) -> None:
        lane.level = self.level(rank)
        lane.rank = rank
        self._risen[lane.klass][lane] = None
        self._ladders[rank].push(lane)

    @staticmethod
    def _is_current(item: tuple[bool, float, int, Entry]) -> bool:
        entry = item[3]
        return entry.place is Place.WAITING and entry.order == item[2]
