"""The way through all limits: reserve, correct, grow, settle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from django.utils import timezone

from accounts.ledger import RunningRecord
from accounts.models import Quota
from accounts.quotas.counters import UNIT, Counters, Demand, Granted, Short, Unknown
from accounts.quotas.periods import Period
from accounts.quotas.rules import Rule, Rules, Run, Scope, Used, in_a_thread
from accounts.quotas.seeding import settled

Metric = Quota.Metric
Window = Quota.Window

STEP = 256
"""Tokens of an answer that are reserved at a time: as many may be frozen, and no more, while it is written."""
GRACE = timedelta(days=1)
"""For which a counter outlives its period: requests that began in it settle there."""
LONGEST = timedelta(days=30)
"""For which a counter without an end is remembered; the ledger knows it."""
ATTEMPTS = 5
"""To seed counters, of which something is settled each time."""


class LimitReached(Exception):
    """Nothing was reserved. used, limit: in the metric's own units, the limit with its boosts."""

    def __init__(self, rule: Rule, period: Period, used: float, limit: int, now: datetime) -> None:
        super().__init__(f"{rule.unit} for {rule.subject}")
        self.rule = rule
        self.period = period
        self.used = used
        self.limit = limit
        self.seconds = None if period.end is None else max(0.0, (period.end - now).total_seconds())
        """Until it begins anew; None: it does not, or nobody knows."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How much of a limit is used. used, limit: in the metric's own units."""

    rule: Rule
    period: Period
    used: float
    limit: int

    @property
    def left(self) -> float:
        return max(0.0, self.limit - self.used)

    @property
    def warns(self) -> bool:
        return self.used * 100 >= self.limit * self.rule.warn_percent


@dataclass(slots=True)
class _Entry:
    rule: Rule
    period: Period
    used: int = 0

    @property
    def counter(self) -> str:
        return self.rule.counter(self.period)


@dataclass(slots=True)
class Reservation:
    """What a running request holds. tokens: of its answer, that it may have."""

    request_id: str
    scope: Scope
    started: datetime
    prompt_tokens: int
    tokens: int = 0
    entries: list[_Entry] = field(default_factory=list)

    def standings(self) -> list[Standing]:
        """As of the last time that it asked for something."""
        return [standing(entry.rule, entry.period, entry.used, self.started) for entry in self.entries]


class Limiter:
    """Belongs to one event loop. run: how it reads the database."""

    def __init__(
        self,
        rules: Rules,
        counters: Counters,
        *,
        run: Run = in_a_thread,
        clock: Callable[[], datetime] = timezone.now,
    ) -> None:
        self._rules = rules
        self._counters = counters
        self._clock = clock
        self._run = run

    async def reserve(self, request_id: str, scope: Scope, *, prompt_tokens: int, most: int) -> Reservation:
        """Takes what a request of so many tokens needs to begin, from every limit that holds for it or from none. most:
        tokens of its answer; the first STEP of them are reserved, or as many as there are. Raises LimitReached."""
        now = self._clock()
        reservation = Reservation(request_id, scope, now, prompt_tokens)
        reservation.entries = [_Entry(rule, rule.period(now)) for rule in await self._rules.of(scope)]
        demands = [self._demand(entry, now, *entry.rule.demand(prompt_tokens)) for entry in reservation.entries]
        wanted = min(STEP, most)
        reservation.tokens = await self._take(request_id, scope, reservation.entries, demands, min(1, wanted), wanted)
        return reservation

    async def correct(self, reservation: Reservation, prompt_tokens: int) -> None:
        """The prompt has been counted. If there is not enough for both, the answer gets less. Raises LimitReached if
        the prompt and a token do not fit."""
        more, tokens = prompt_tokens - reservation.prompt_tokens, reservation.tokens
        reservation.prompt_tokens = prompt_tokens
        if not more:
            return
        entries = [entry for entry in reservation.entries if entry.rule.metric == Metric.TOKENS]
        now = self._clock()
        weights = [entry.rule.weights for entry in entries]
        demands = [
            self._demand(entry, now, more * each.input - tokens * each.output, each.output)
            for entry, each in zip(entries, weights, strict=True)
        ]
        reservation.tokens = await self._take(
            reservation.request_id, reservation.scope, entries, demands, min(1, tokens), tokens
        )

    async def grow(self, reservation: Reservation, most: int) -> int:
        """More tokens for its answer: STEP, at most so many, or as many as there are, maybe none."""
        entries = [entry for entry in reservation.entries if entry.rule.metric == Metric.TOKENS]
        now = self._clock()
        demands = [self._demand(entry, now, 0, entry.rule.weights.output) for entry in entries]
        try:
            granted = await self._take(reservation.request_id, reservation.scope, entries, demands, 1, min(STEP, most))
        except LimitReached:
            return 0
        reservation.tokens += granted
        return granted

    async def renew(self, reservation: Reservation) -> None:
        """To be called every now and then while it runs."""
        leases = [entry.counter for entry in reservation.entries if entry.rule.metric == Metric.CONCURRENCY]
        if leases:
            await self._counters.renew(reservation.request_id, leases)

    async def settle(self, request_id: str, scope: Scope, started: datetime, used: Used) -> None:
        """What a request has used takes the place of what it held. To be called once, by whoever closed its row in the
        ledger, whether this process reserved for it or another."""
        # Of the rules as they are now: one that is new counts what ran when it came, too.
        entries = [_Entry(rule, rule.period(started)) for rule in await self._rules.of(scope)]
        await self._settle(request_id, entries, used)

    async def settle_record(self, record: RunningRecord, used: Used) -> None:
        """The same for a row that somebody else left open."""
        if record.key_id is None or record.user_id is None:
            return  # their quotas went with them
        scope = Scope(record.key_id, record.user_id, record.team_id, record.model)
        await self.settle(record.request_id, scope, record.started_at, used)

    async def release(self, reservation: Reservation) -> None:
        """It never ran."""
        await self._settle(reservation.request_id, reservation.entries, Used(counts=False))

    async def standings(self, scope: Scope) -> list[Standing]:
        """How much is used of every limit that holds."""
        return await self._standings(scope, await self._rules.of(scope))

    async def overview(self) -> list[Standing]:
        """How much is used of every stored limit in force, whomever it is for. Those that nobody has met yet are looked
        up in the ledger once, one query each."""
        return await self._standings(None, await self._rules.all())

    async def _standings(self, scope: Scope | None, rules: Sequence[Rule]) -> list[Standing]:
        now = self._clock()
        entries = [_Entry(rule, rule.period(now)) for rule in rules]
        places = [entry for entry in entries if entry.rule.metric == Metric.CONCURRENCY]
        for entry, used in zip(places, await self._counters.used([each.counter for each in places]), strict=True):
            entry.used = used or 0
        others = [entry for entry in entries if entry not in places]
        await self._take("", scope, others, [self._demand(entry, now, 0, 0, look=True) for entry in others], 0, 0)
        return [standing(entry.rule, entry.period, entry.used, now) for entry in entries]

    async def _settle(self, request_id: str, entries: Sequence[_Entry], used: Used) -> None:
        leases = [entry.counter for entry in entries if entry.rule.metric == Metric.CONCURRENCY]
        charges = {entry.counter: entry.rule.charge(used) for entry in entries if entry.counter not in leases}
        await self._counters.settle(request_id, charges, leases)

    def _demand(self, entry: _Entry, now: datetime, base: int, unit: int, *, look: bool = False) -> Demand:
        """look: nothing is wanted, so no limit is in the way."""
        # At least the grace, also where the clock says that the period is long over.
        left = LONGEST if entry.period.end is None else max(timedelta(0), entry.period.end - now) + GRACE
        return Demand(
            counter=entry.counter,
            base=base,
            unit=unit,
            limit=None if look or entry.rule.is_soft else entry.rule.limit_at(now) * UNIT,
            lasts=left.total_seconds(),
            lease=entry.rule.metric == Metric.CONCURRENCY,
        )

    async def _take(
        self,
        request_id: str,
        scope: Scope | None,
        entries: Sequence[_Entry],
        demands: Sequence[Demand],
        least: int,
        wanted: int,
    ) -> int:
        for _ in range(ATTEMPTS):
            verdict = await self._counters.take(request_id, demands, least=least, wanted=wanted)
            match verdict:
                case Granted(tokens, used):
                    for entry, amount in zip(entries, used, strict=True):
                        entry.used = amount
                    return tokens
                case Short(at, amount):
                    now = self._clock()
                    rule = entries[at].rule
                    raise LimitReached(rule, entries[at].period, amount / UNIT, rule.limit_at(now), now)
                case Unknown(versions):
                    known = await self._run(partial(_settled, [entries[at] for at in versions]))
                    for (at, version), amount in zip(versions.items(), known, strict=True):
                        await self._counters.seed(demands[at].counter, amount, demands[at].lasts, version)
        raise TimeoutError(f"the counters of {scope} could not be read")


def standing(rule: Rule, period: Period, used: int, now: datetime) -> Standing:
    return Standing(rule, period, used / UNIT, rule.limit_at(now))


def _settled(entries: Sequence[_Entry]) -> list[int]:
    return [settled(entry.rule, entry.period) for entry in entries]
