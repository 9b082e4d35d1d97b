"""What the scheduler reads of a request."""

from typing import Protocol

CLASSES = ("interactive", "api", "batch")
"""Priority classes, the first goes first."""


class Job(Protocol):
    """One request. The scheduler reads these and writes none of them."""

    id: str
    user: str
    """Fairness is between users."""
    weight: float
    """The user's weight, above 0: with 3, three times the service of a user with 1."""
    priority: str
    """One of CLASSES."""
    received: float
    """Seconds, on the clock of every `now` that the scheduler is given."""
    deadline: float | None
    """Seconds, the same clock; to be ended with a timeout from then on."""
    launched: int
    """Decode steps begun, since the request came."""

    @property
    def context(self) -> int:
        """Tokens that its cache holds once prefilled: the prompt, and what it said before a preemption."""

    @property
    def to_prefill(self) -> int:
        """Tokens to compute before it can decode; from its admission on, less what the prefix cache had."""
