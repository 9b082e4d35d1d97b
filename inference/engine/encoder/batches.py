"""Which rows share a step.

Rows of a step are padded to the longest, so they should be alike: the rows of all requests wait in order of length, and
a step takes neighbours. Whose row leads a step is decided between users, by tokens computed for them so far, as the
scheduler of text models does (`inference.engine.scheduling.fairness`): two thousand inputs of one hold up one input of
another for a step and not for all of them.
"""

from bisect import bisect_left, insort
from dataclasses import dataclass, field

from inference.engine.encoder.job import Job, Row

DENSE = 0.75
"""Share of a step's tokens that should be text; the rest is padding, computed and thrown away."""
SMALL = 256
"""Tokens of a step below which padding is cheaper than one more step."""


@dataclass(slots=True)
class Turns:
    """One user's requests, in order, and the tokens computed for them."""

    served: int = 0
    jobs: dict[Job, list[Row]] = field(default_factory=dict)
    """The rows that wait, the longest last."""


class Waiting:
    """tokens: of a step at most, padding included; a longer row has one to itself.  rows: of a step at most."""

    def __init__(self, tokens: int, rows: int | None = None) -> None:
        self._tokens = tokens
        self._most_rows = rows
        self._rows: list[Row] = []
        """All that wait, the shortest first."""
        self._users: dict[str, Turns] = {}
        self._serial = 0

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, job: Job) -> None:
        for row in job.rows:
            row.serial = self._serial = self._serial + 1
            insort(self._rows, row, key=_place)
        busy = [turns.served for turns in self._users.values() if turns.jobs]
        turns = self._users.setdefault(job.request.user, Turns())
        if not turns.jobs and busy:
            # Who was away starts level with those that wait: absence saves nothing up.
            turns.served = max(turns.served, min(busy))
        turns.jobs[job] = sorted(job.rows, key=_place)

    def remove(self, job: Job) -> None:
        """Its rows wait no longer."""
        left = self._users[job.request.user].jobs.pop(job, None) if job.request.user in self._users else None
        if left:
            self._rows = [row for row in self._rows if row.job is not job]
        if not self._rows:
            # Nobody is here: everyone would start level, so nothing needs to be remembered.
            self._users.clear()

    def take(self) -> list[Row]:
        """The rows of the next step, which wait no longer: the longest first."""
        if not self._rows:
            return []
        leading = min((turns for turns in self._users.values() if turns.jobs), key=lambda turns: turns.served)
        head = next(iter(leading.jobs.values()))[-1]
        at = bisect_left(self._rows, _place(head), key=_place)
        first, text = at, head.length
        while first and self._fits(head.length, at - first + 2, text + self._rows[first - 1].length):
            first -= 1
            text += self._rows[first].length
        step = self._rows[first : at + 1][::-1]
        del self._rows[first : at + 1]
        for row in step:
            turns = self._users[row.job.request.user]
            turns.served += row.length
            left = turns.jobs[row.job]
            left.pop(bisect_left(left, _place(row), key=_place))
            if not left:
                del turns.jobs[row.job]
        if not self._rows:
            self._users.clear()
        return step

    def _fits(self, longest: int, rows: int, text: int) -> bool:
        padded = longest * rows
        if padded > self._tokens or (self._most_rows is not None and rows > self._most_rows):
            return False
        return padded <= SMALL or text >= DENSE * padded


def _place(row: Row) -> tuple[int, int]:
    """Of two rows of one length, the one that came first is the nearer to the longer ones, and goes first."""
    return row.length, -row.serial
