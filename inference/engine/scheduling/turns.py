"""One step's prefill: the budget goes from turn to turn, each time to whoever has been served least."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from inference.engine.scheduling.entry import Entry
from inference.engine.scheduling.fairness import INPUT, Lane
from inference.engine.scheduling.job import Job
from inference.engine.scheduling.preemption import Candidates, enough
from inference.engine.scheduling.rate import Budget

if TYPE_CHECKING:
    from inference.engine.scheduling.scheduler import Plan, Scheduler

LOOKS = 4
"""Users for whom a step may look for room in vain. The others have been served more and wait for the next step."""
HELD_LOOKS = 32
"""Users whose requests may be found waiting for another's prefix, before the rest is left for the next step."""
MOST_VICTIMS = 8
"""Rows that may be taken for one request, when it needs the memory of several."""
AHEAD = 0.5
"""Of the rows' step: so much later may it begin for prompts that are computed before it."""
PATIENCE = 30.0
"""Seconds for which others may overtake a request that the memory is too short for. Then room is kept for it."""


class Turns:
    """Lives for one plan."""

    def __init__(
        self,
        scheduler: "Scheduler[Any]",
        plan: "Plan[Job]",
        now: float,
        budget: Budget,
        kept: set[str],
        joining: list[Entry],
    ):
        self._scheduler = scheduler
        self._queue = scheduler.queue
        self._plan = plan
        self._now = now
        self._budget = budget
        self._kept = kept
        """Rows that are not to be preempted in this step."""
        self._joining = joining
        self._begun = [entry for entry in scheduler.begun if entry.job.to_prefill]
        self._candidates: Candidates | None = None
        self._touched: list[Lane] = []
        self._aside: list[Lane] = []
        self._looks = {LOOKS: LOOKS, HELD_LOOKS: HELD_LOOKS}
        self._only: Lane | None = None
        """A user whose only request is about to say its first token."""
        self._ahead = AHEAD * scheduler.rates.decode(scheduler.decoding)
        """Seconds left for prompts before the rows' step."""
        self._spent = False
        self._closed = False
        """Nobody else is admitted in this step."""

    def take(self) -> None:
        for joining in self._joining:
            self._grant(joining, 0, 0, last=True)
        while not self._spent:
            entry = min(self._begun, key=_turn, default=None)
            lane = None if self._closed else self._queue.best()
            if lane is not None and (entry is None or self._is_before(lane, entry)):
                self._admit(lane)
            elif entry is not None:
                self._begun.remove(entry)
                self._continue(entry)
            else:
                break
        for lane in self._touched:
            lane.pending = 0.0
        for lane in dict.fromkeys((*self._touched, *self._aside)):
            self._queue.bring_back(lane)

    def _is_before(self, lane: Lane, entry: Entry) -> bool:
        """Whether a user's next request goes before one that has begun to prefill."""
        if lane is entry.lane and lane.rank == entry.rank:
            return self._queue.head(lane).urgency < entry.urgency
        return (lane.rank, lane.standing, lane.key[1]) < (entry.rank, entry.standing, True)

    def _continue(self, entry: Entry) -> None:
        job = entry.job
        if self._scheduler.held(job) or self._gives_way(entry.lane):
            return
        wanted = job.to_prefill
        context = job.context - wanted
        tokens = self._budget.offer(wanted, context)
        if tokens or not wanted:
            self._grant(entry, tokens, context, last=tokens == wanted)
        else:
            self._spent = True

    def _admit(self, lane: Lane) -> None:
        """Lets the lane's next request in and prefills it, or puts the lane aside."""
        if self._gives_way(lane):
            return self._put_aside(lane)
        scheduler = self._scheduler
        # Those that are ready and wait for others don't prefill any more.
        slots = scheduler.prefill_batch_size - sum(bool(entry.job.to_prefill) for entry in scheduler.begun)
        rows = scheduler.max_rows - scheduler.rows
        crowded = slots <= 0 or rows <= 0
        if crowded and next(self._victims(lane, slots), None) is None:
            return self._put_aside(lane)
        chosen = self._queue.choose(lane, lambda e: scheduler.held(e.job), lambda e: scheduler.cached(e.job))
        if chosen is None:
            return self._put_aside(lane, HELD_LOOKS)
        entry, saved = chosen
        job = entry.job
        if not scheduler.memory.fits_ever(job.context + 1):
            self._plan.full.append(job)
            return self._put_aside(lane)
        wanted = max(0, job.to_prefill - saved)
        tokens = self._budget.offer(wanted, saved)
        if wanted and not tokens:
            self._spent = True
            return None
        leaving = enough(
            self._victims(lane, slots),
            at_least=int(crowded),
            fits=lambda ids: scheduler.memory.has_room(job.context, ids),
            at_most=MOST_VICTIMS,
        )
        if leaving is None:
            self._note_blocked(lane, crowded)
            return self._put_aside(lane)
        for victim in leaving:
            if victim in self._begun:
                self._begun.remove(victim)
            scheduler.take_out(victim)
            self._plan.preempt.append(victim.job)
        scheduler.let_in(entry, self._now)
        self._candidates = None
        self._plan.admit.append(job)
        self._grant(entry, tokens, saved, last=tokens == wanted)
        return None

    def _victims(self, lane: Lane, slots: int) -> Iterator[Entry]:
        if self._candidates is None:
            self._candidates = Candidates(self._scheduler.lanes.holding)
        return self._candidates.victims(lane, self._kept, prefilling=slots <= 0)

    def _grant(self, entry: Entry, tokens: int, context: int, *, last: bool) -> None:
        """last: its prompt is complete with these."""
        alone = last and len(entry.lane.rows) == 1
        if alone:
            # This step has the first token of all that its user asked for: nobody who has several rows makes it longer.
            self._only = entry.lane
        if alone and self._go_ahead(tokens, context):
            self._plan.ahead.append(entry.job)
        else:
            self._budget.spend(tokens, context)
        self._plan.prefill.append((entry.job, tokens))
        self._kept.add(entry.job.id)
        lane = entry.lane
        lane.pending += INPUT * tokens / lane.weight
        self._touched.append(lane)

    def _go_ahead(self, tokens: int, context: int) -> bool:
        """Whether these, and the prompt's last, are so few that the rows can wait for them, instead of the other way
        round."""
        seconds = self._scheduler.rates.prefill(tokens + 1, context) if self._scheduler.mixed else 0.0
        if not 0 < seconds <= self._ahead or not self._budget.spend_ahead(tokens, seconds):
            return False
        self._ahead -= seconds
        return True

    def _gives_way(self, lane: Lane) -> bool:
        return self._only is not None and self._only is not lane and len(lane.rows) > 1

    def _put_aside(self, lane: Lane, kind: int = LOOKS) -> None:
        self._queue.put_aside(lane)
        self._aside.append(lane)
        self._looks[kind] -= 1
        if not self._looks[kind]:
            self._closed = True

    def _note_blocked(self, lane: Lane, crowded: bool) -> None:
        """The memory is too short for this lane's next request: after some time, room is kept for it."""
        if crowded:
            return
        if lane.blocked is None:
            lane.blocked = self._now
        elif self._now - lane.blocked > PATIENCE:
            self._closed = True


def _turn(entry: Entry) -> tuple[int, float, float]:
    return (entry.rank, entry.standing, entry.urgency)
