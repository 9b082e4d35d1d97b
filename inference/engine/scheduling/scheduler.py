"""What the engine does in its next step."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar, cast

from inference.engine.scheduling.entry import Entry, Place
from inference.engine.scheduling.fairness import Lanes
from inference.engine.scheduling.job import Job
from inference.engine.scheduling.memory import Memory
from inference.engine.scheduling.preemption import least_deserving
from inference.engine.scheduling.rate import MARGIN, Budget, Rates
from inference.engine.scheduling.turns import Turns
from inference.engine.scheduling.waiting import Waiting

STRETCH = 3.0
"""Times the bound: so long may a step take on a slow machine, before its prefill gets less than a grid unit."""


class QueueFull(Exception):
    """The bounded queue has no room for another request."""


J = TypeVar("J", bound=Job)


@dataclass(slots=True)
class Plan(Generic[J]):
    """One step, in this order."""

    preempt: list[J] = field(default_factory=list)
    """Rows to take out, decoding or prefilling: their cache goes to the prefix cache, then `preempted` is called."""
    admit: list[J] = field(default_factory=list)
    """These have left the queue: they get a slot, and the prefix cache is looked up."""
    prefill: list[tuple[J, int]] = field(default_factory=list)
    """At most so many tokens each; less if the prefix cache had more than expected. 0: nothing is left, it joins."""
    ahead: list[J] = field(default_factory=list)
    """Those of them that are complete with it and say their first token by themselves, before the rows' step."""
    decode: bool = False
    """Whether there are rows to decode, one token each."""
    gather: bool = False
    """Prompts that this step completes wait for others before they decode; else they join the batch in this step."""
    full: list[J] = field(default_factory=list)
    """Rows to end before that, with `length`: one token more would never fit the memory, not even alone."""


class Scheduler(Generic[J]):
    """Holds every request from `add` to `remove`. One thread; times are seconds on one clock.

    `cached(job)`: tokens of its prompt that the prefix cache would save now. `held(job)`: whether it waits for another
    that prefills the same prefix; it must be False as soon as that other one no longer prefills. `entering(job)` is
    called as soon as a plan admits one, so that the next candidate of the same plan can be held for it.
    """

    def __init__(
        self,
        *,
        memory: Memory,
        max_rows: int = 32,
        max_waiting: int = 1024,
        max_stall: float = 0.1,
        chunk: int = 2048,
        prefill_batch_size: int = 8,
        max_gather: float = 0.0,
        mixed: bool = False,
        cached: Callable[[J], int] = lambda job: 0,
        held: Callable[[J], bool] = lambda job: False,
        entering: Callable[[J], None] = lambda job: None,
    ):
        self.memory = memory
        self.max_rows = max_rows
        self.max_waiting = max_waiting
        self.max_stall = max_stall
        self.chunk = chunk
        self.prefill_batch_size = prefill_batch_size
        self.max_gather = max_gather
        self.mixed = mixed
        # Inside, requests are read as what Job says of them; what comes in is what goes out.
        self.cached = cast(Callable[[Job], int], cached)
        self.held = cast(Callable[[Job], bool], held)
        self.entering = cast(Callable[[Job], None], entering)
        self.rates = Rates(mixed=mixed)
        self._lanes = Lanes()
        self.queue = Waiting(self._lanes)
        self._entries: dict[str, Entry] = {}
        self._prefilling: dict[str, Entry] = {}
        self._running: dict[str, Entry] = {}
        self._leaving: dict[str, Entry] = {}
        self._deadlines: list[tuple[float, int, Entry]] = []
        self._next = count().__next__
        self._now = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def waiting(self) -> list[Job]:
        """In no particular order; a copy, so `len(scheduler.queue)` is cheaper."""
        return [entry.job for entry in self.queue]

    @property
    def prefilling(self) -> list[Job]:
        return [entry.job for entry in self._prefilling.values()]

    @property
    def running(self) -> list[Job]:
        return [entry.job for entry in self._running.values()]

    @property
    def leaving(self) -> list[Job]:
        """Planned to be preempted; `preempted` or `remove` is due."""
        return [entry.job for entry in self._leaving.values()]

    def add(self, job: Job, now: float) -> None:
        """Raises QueueFull, and ValueError for an id that is here already, an unknown priority, a weight that is not
        above 0, or a job that `memory.fits_ever` would have refused."""
        if job.id in self._entries:
            raise ValueError(f"job {job.id} is here already")
        if not self.memory.fits_ever(job.context + 1):
            raise ValueError(f"job {job.id} can never fit: {job.context} tokens")
        if len(self.queue) >= self.max_waiting + max(0, self.max_rows - self.rows):
            raise QueueFull
        entry = self._entries[job.id] = Entry(job, self._lanes.of(job))
        self.queue.put(entry, now)
        if job.deadline is not None:
            heappush(self._deadlines, (job.deadline, self._next(), entry))
            if len(self._deadlines) > 2 * len(self._entries) + 64:
                self._deadlines = [item for item in self._deadlines if item[2].place is not Place.GONE]
                heapify(self._deadlines)

    def plan(self, now: float) -> Plan[J]:
        """The next step. What it admits prefills from now on; what it preempts must be reported back before the next
        plan, by `preempted` or, if it ended meanwhile, by `remove`."""
        self._now = now
        self.queue.age(now)
        plan: Plan[Job] = Plan()
        full = self._grow(plan)
        joining = self._joining(now)
        rows = len(self._running) + len(joining)
        seconds = self.max_stall * MARGIN - self.rates.decode(rows) if rows else None
        Turns(self, plan, now, Budget(self.rates, self.chunk, seconds, STRETCH * self.max_stall), full, joining).take()
        plan.decode = bool(self._running)
        planned = {job.id: tokens for job, tokens in plan.prefill}
        plan.gather = not (rows or self._running) and self._worth_waiting(self.max_gather, planned)
        return cast(Plan[J], plan)

    def start(self, jobs: Iterable[Job]) -> None:
        """These have prefilled; they decode from now on."""
        for job in jobs:
            entry = self._prefilling.pop(job.id)
            self._running[job.id] = entry
            entry.begin_decoding()

    def preempted(self, jobs: Iterable[Job]) -> None:
        """These are out of the batch, planned or not; they go on later, before all else of their user."""
        for job in jobs:
            entry = self._entries[job.id]
            if entry.place is not Place.LEAVING:
                self.take_out(entry)
            del self._leaving[job.id]
            entry.preemptions += 1
            entry.service = 0
            self.queue.put(entry, self._now, front=True)

    def remove(self, jobs: Iterable[Job]) -> None:
        """These have ended, failed or been cancelled, wherever they are. Those not here are passed over."""
        for job in jobs:
            entry = self._entries.pop(job.id, None)
            if entry is None:
                continue
            match entry.place:
                case Place.WAITING:
                    self.queue.discard(entry)
                case Place.PREFILLING | Place.RUNNING:
                    self.take_out(entry)
                    del self._leaving[job.id]
                case Place.LEAVING:
                    del self._leaving[job.id]
            entry.place = Place.GONE
        if not self._entries:
            self._lanes.forget()
            self._deadlines.clear()

    def charge(self, job: Job, *, prompt: int = 0, cached: int = 0, output: int = 0) -> None:
        """Tokens that a step computed for it, or that the prefix cache saved it: the service its user has had."""
        self._lanes.charge(job, prompt, cached, output)
        entry = self._entries.get(job.id)
        if entry is not None:
            entry.service += prompt + output

    def observe(self, rows: int, chunks: Sequence[tuple[int, int]], seconds: float) -> None:
        """How long a step took, see `Rates.observe`."""
        self.rates.observe(rows, chunks, seconds)

    def expired(self, now: float) -> list[J]:
        """Those past their deadline, wherever they are; named again until they are removed."""
        found: list[tuple[float, int, Entry]] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            item = heappop(self._deadlines)
            if item[2].place is not Place.GONE:
                found.append(item)
        for item in found:
            heappush(self._deadlines, item)
        return [cast(J, entry.job) for _, _, entry in found]

    # --- for Turns ---------------------------------------------------------------------------------------------------

    @property
    def rows(self) -> int:
        return len(self._prefilling) + len(self._running)

    @property
    def lanes(self) -> Lanes:
        return self._lanes

    @property
    def begun(self) -> Collection[Entry]:
        return self._prefilling.values()

    @property
    def decoding(self) -> int:
        return len(self._running)

    def let_in(self, entry: Entry, now: float) -> None:
        """Raises MemoryError without room."""
        self.memory.admit(entry.job.id, entry.job.context)
        self.queue.take(entry, now)
        entry.place = Place.PREFILLING
        entry.ready = None
        self._prefilling[entry.job.id] = entry
        self.entering(entry.job)
        self._lanes.hold(entry)

    def take_out(self, entry: Entry) -> None:
        """Its row and its memory are free; it is not waiting yet."""
        id = entry.job.id
        (self._running if entry.place is Place.RUNNING else self._prefilling).pop(id)
        self.memory.release(id)
        self._lanes.release(entry)
        entry.place = Place.LEAVING
        self._leaving[id] = entry

    def _joining(self, now: float) -> list[Entry]:
        """Those whose prompts have been prefilled: they join the batch, unless they wait for others to begin with."""
        ready = [entry for entry in self._prefilling.values() if not entry.job.to_prefill]
        if not ready:
            return []
        for entry in ready:
            if entry.ready is None:
                entry.ready = now
        since = min(entry.ready for entry in ready if entry.ready is not None)
        if not self._running and self._worth_waiting(self.max_gather - (now - since), {}):
            return []
        return ready

    def _worth_waiting(self, seconds: float, planned: dict[str, int]) -> bool:
        """Whether another prompt can be prefilled in that time, after the tokens planned for now. While nobody has an
        answer under way, a prompt takes half the time that it would take beside rows, and these can then decode
        together."""
        if seconds <= 0:
            return False
        begun = ((entry.job, planned.get(id, 0)) for id, entry in self._prefilling.items())
        others: list[tuple[Job, int]] = [(job, tokens) for job, tokens in begun if job.to_prefill > tokens]
        lane = self.queue.best()
        if not others and lane is not None and self.max_rows > self.rows:
            job = self.queue.head(lane).job
            if not self.held(job) and self.memory.has_room(job.context, ()):
                others.append((job, self.cached(job)))
        return any(
            0 < self.rates.prefill(job.to_prefill - saved, job.context - job.to_prefill + saved) <= seconds
            for job, saved in others
        )

    def _grow(self, plan: Plan[Job]) -> set[str]:
        """Every row has memory for its next token; who has to make room for that, goes. Returns the rows that are at
        the end of all memory."""
        full: set[str] = set()
        short: list[Entry] = []
        memory = self.memory
        for id, entry in self._running.items():
            length = entry.length
            if memory.tokens(id) <= length:
                if memory.fits_ever(length + 1):
                    short.append(entry)
                else:
                    full.add(id)
                    plan.full.append(entry.job)
        for entry in short:
            while entry.place is Place.RUNNING and not memory.grow(entry.job.id, entry.length):
                others = (e for e in (*self._prefilling.values(), *self._running.values()) if e.job.id not in full)
                victim = least_deserving(others)
                assert victim is not None, "the row itself is one"
                self.take_out(victim)
                plan.preempt.append(victim.job)
        return full
