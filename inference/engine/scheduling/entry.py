"""What the scheduler itself remembers of a request."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from inference.engine.scheduling.job import Job

if TYPE_CHECKING:
    from inference.engine.scheduling.fairness import Lane

AGEING = 256.0
"""Tokens a second: within a user the shortest prompt goes first, but one that waited a second longer may be this
much longer."""
SERVICE = 64
"""Tokens computed for a request that was preempted before it may be preempted again."""


class Place(Enum):
    WAITING = auto()
    PREFILLING = auto()
    RUNNING = auto()
    LEAVING = auto()
    """Planned to be preempted, not yet back in the queue."""
    GONE = auto()


@dataclass(slots=True, eq=False)
class Entry:
    """One request in the scheduler, from `add` to `remove`."""

    job: Job
    lane: "Lane"
    place: Place = Place.WAITING
    order: int = 0
    """When it was queued, or admitted, in the scheduler's own count."""
    rank: int = 0
    """The class in which it was admitted: its own, or a higher one into which it had aged."""
    level: float = 0.0
    """If it had aged: the standing with which it was admitted."""
    service: int = 0
    """Tokens computed for it since its last admission."""
    preemptions: int = 0
    ready: float | None = None
    """When its prompt was found prefilled."""
    _grown_from: int = 0

    @property
    def length(self) -> int:
        """Tokens in its cache; while it prefills, those that will be."""
        if self.place is Place.RUNNING:
            return self._grown_from + self.job.launched
        return self.job.context

    @property
    def urgency(self) -> float:
        """Least first within a user: shortest remaining prefill, with ageing. It stands still while a request waits,
        so that it can be the key of a heap: remaining - AGEING * (now - received), less what all have in common."""
        return self.job.to_prefill + AGEING * self.job.received

    @property
    def standing(self) -> float:
        """The weighted service by which it competes while it prefills."""
        lane = self.lane
        if self.rank == lane.klass:
            return lane.counter + lane.pending
        return self.level + self.service / lane.weight

    @property
    def protected(self) -> bool:
        """It was preempted, and has not got anything for coming back yet."""
        return self.preemptions > 0 and self.service < SERVICE

    def begin_decoding(self) -> None:
        self.place = Place.RUNNING
        self._grown_from = self.job.context - self.job.launched
