"""What a quota would have refused, had it been there: the ledger's requests, one after another, against a draft."""

import heapq
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import QuerySet

from accounts.models import Quota, Rollups, UsageRecord
from accounts.quotas.counters import UNIT
from accounts.quotas.periods import Period, period
from accounts.quotas.rules import Rule, Used
from accounts.quotas.seeding import scope_of, settled
from accounts.rollups import midnight

Metric = Quota.Metric
Window = Quota.Window

MOST_ROWS = 100_000
"""Requests that one answer looks at."""
MOST_DAYS = 366
MOST_SHOWN = 50
"""Windows, and users, that are told one by one."""


@dataclass(slots=True)
class Over:
    """requests: that would have been refused. amount: what would not have been used, in the metric's own units, by them
    and by those whose answer would have been cut short."""

    requests: int = 0
    amount: float = 0.0

    def add(self, missing: int, *, refused: bool) -> None:
        self.requests += refused
        self.amount += missing / UNIT


@dataclass(slots=True)
class Exceeded:
    """A window in which it would have been in the way. start, end: None for `total`. used: in truth; of requests at
    once, the most of that day."""

    start: datetime | None
    end: datetime | None
    used: float = 0.0
    over: Over = field(default_factory=Over)


@dataclass(frozen=True, slots=True)
class WhatIf:
    """start, end: of what was looked at. is_whole: False where `start` is later than asked for, because there were more
    than MOST_ROWS requests, or earlier ones are not kept any more. windows: those in which there was a request;
    exceeded: how many of them. worst, users: the first MOST_SHOWN, by what is over."""

    start: datetime
    end: datetime
    is_whole: bool
    requests: int
    windows: int
    exceeded: int
    over: Over
    worst: list[Exceeded]
    users: list[tuple[str, Over]]


def what_if(rule: Rule, *, start: datetime, end: datetime) -> WhatIf:
    """What the rule would have refused of the requests that began in [start, end) and have ended.

    It takes them in their order, as if each had been over before the next: one that does not fit is refused and counts
    nothing, one of which the beginning fits has its answer cut. Requests at once are counted by the times in the
    ledger, and told by the day. What clients would have done instead nobody knows.

    Work: the latest MOST_ROWS rows at most, by an index on who or what the rule names, and one sum over the part of the
    first window that lies before `start`. Memory: by users, not by rows. Four queries.
    """
    kept_from = Rollups.first_day_kept()
    forgotten = kept_from is not None and start < midnight(kept_from)
    if kept_from is not None and forgotten:
        start = midnight(kept_from)
    rows = UsageRecord.objects.filter(scope_of(rule), started_at__gte=start, started_at__lt=end)
    rows = rows.exclude(state=UsageRecord.State.RUNNING).exclude(outcome=UsageRecord.Outcome.REFUSED)
    too_old = rows.order_by("-started_at").values_list("started_at", flat=True)[MOST_ROWS : MOST_ROWS + 1].first()
    if too_old is not None:
        # Of those that began at one moment none or all.
        start = too_old + timedelta(microseconds=1)
        rows = rows.filter(started_at__gte=start)
    walk = _Walk(rule, start)
    for request in _requests(rule, rows):
        walk.take(request)
    walk.end_window()
    return WhatIf(
        start=start,
        end=end,
        is_whole=too_old is None and not forgotten,
        requests=walk.requests,
        windows=walk.windows,
        exceeded=walk.exceeded,
        over=walk.over,
        worst=walk.worst(),
        users=sorted(walk.users.items(), key=lambda each: (-each[1].amount, each[0]))[:MOST_SHOWN],
    )


class _Request(NamedTuple):
    """cost: in UNITs of the rule's metric. least: what has to be left for it to begin."""

    username: str
    started_at: datetime
    ended_at: datetime
    cost: int
    least: int


def _requests(rule: Rule, rows: QuerySet[UsageRecord]) -> Iterator[_Request]:
    found = (
        rows.order_by("started_at", "pk")
        .values_list(
            "username",
            "started_at",
            "ended_at",
            "prompt_tokens",
            "cached_tokens",
            "completion_tokens",
            "engine_seconds",
        )
        .iterator()
    )
    for username, started_at, ended_at, prompt, cached, completion, seconds in found:
        base, unit = rule.demand(prompt)
        cost = UNIT if rule.metric == Metric.CONCURRENCY else rule.charge(Used(prompt, cached, completion, seconds))
        # The database holds that what has ended has an end.
        yield _Request(username, started_at, ended_at or started_at, cost, base + (unit if completion else 0))


class _Walk:
    """Through the requests in their order."""

    def __init__(self, rule: Rule, start: datetime) -> None:
        self.requests = self.windows = self.exceeded = 0
        self.over = Over()
        self.users: defaultdict[str, Over] = defaultdict(Over)
        self._rule = rule
        self._limit = rule.limit * UNIT
        self._start = start
        self._window: Exceeded | None = None
        self._used = 0
        """In UNITs, with the rule; `_all` without."""
        self._all = 0
        self._ends: list[datetime] = []
        """Of the requests at once that run, with the rule; `_all_ends` without. Heaps."""
        self._all_ends: list[datetime] = []
        self._worst: list[tuple[float, int, Exceeded]] = []

    def take(self, request: _Request) -> None:
        self.requests += 1
        window = self._window
        if window is None or (window.end is not None and request.started_at >= window.end):
            window = self._begin(request.started_at)
        at_once = self._rule.metric == Metric.CONCURRENCY
        missing, refused = self._beside(request) if at_once else self._after(request)
        window.used = max(window.used, self._all / UNIT)
        if missing:
            for over in (self.over, window.over, self.users[request.username]):
                over.add(missing, refused=refused)

    def end_window(self) -> None:
        window, self._window = self._window, None
        if window is None or not window.over.amount:
            return
        self.exceeded += 1
        heapq.heappush(self._worst, (window.over.amount, self.exceeded, window))
        if len(self._worst) > MOST_SHOWN:
            heapq.heappop(self._worst)

    def worst(self) -> list[Exceeded]:
        return [window for *_, window in sorted(self._worst, reverse=True)]

    def _begin(self, moment: datetime) -> Exceeded:
        self.end_window()
        if self._rule.metric == Metric.CONCURRENCY:
            into = period(Window.DAY, moment, self._rule.zone)
        else:
            into = self._rule.period(moment)
            self._all = settled(self._rule, Period(into.start, self._start)) if self._reaches_back(into) else 0
            self._used = min(self._all, self._limit)
        self.windows += 1
        self._window = Exceeded(into.start, into.end)
        return self._window

    def _reaches_back(self, into: Period) -> bool:
        return into.start is None or into.start < self._start

    def _after(self, request: _Request) -> tuple[int, bool]:
        """In UNITs what there was not enough for, and whether for all of it."""
        self._all += request.cost
        room = self._limit - self._used
        if request.least > room:
            return request.cost, True
        # How long the engine will work nobody knows: the request that crosses that line runs to its end.
        granted = request.cost if self._rule.metric == Metric.GPU_SECONDS else min(request.cost, room)
        self._used += granted
        return request.cost - granted, False

    def _beside(self, request: _Request) -> tuple[int, bool]:
        for ends in (self._ends, self._all_ends):
            while ends and ends[0] <= request.started_at:
                heapq.heappop(ends)
        heapq.heappush(self._all_ends, request.ended_at)
        self._all = len(self._all_ends) * UNIT
        if (len(self._ends) + 1) * UNIT > self._limit:
            return request.cost, True
        heapq.heappush(self._ends, request.ended_at)
        return 0, False
