"""What has been used of each limit, and what is reserved: in this process, for the one gateway that has no Redis.

Amounts are whole numbers of UNITs. A counter has what was settled, and what every running request holds, by its
id: what a gateway that died has reserved is given back by whoever closes its rows in the ledger.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

UNIT = 1000
"""What is counted is counted in thousandths: weights and seconds have fractions, and sums of floats have errors."""
LEASE_SECONDS = 60.0
"""After which a place among the requests at once is free again that nobody has renewed."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request asks of one counter: `base`, and `unit` for each token that it may generate. limit: None for one
    that only warns. lease: the counter is of requests at once."""

    counter: str
    base: int
    unit: int
    limit: int | None
    lasts: float
    """Seconds from now for which the counter has to be remembered. Not a time: clocks of gateways differ, and jump."""
    lease: bool = False


@dataclass(frozen=True, slots=True)
class Granted:
    tokens: int
    used: list[int]
    """By demand, what is used and reserved now."""


@dataclass(frozen=True, slots=True)
class Short:
    """Nothing was taken: this demand does not fit."""

    at: int
    used: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nothing was taken: these counters have to be seeded. By demand, the version to be named in `seed`."""

    versions: dict[int, int]


Verdict = Granted | Short | Unknown


class Counters(Protocol):
    async def take(self, request: str, demands: Sequence[Demand], *, least: int, wanted: int) -> Verdict:
        """All of the demands, for as many of the wanted tokens as every one of them allows, or nothing: if one of them
        does not allow the least."""

    async def seed(self, counter: str, settled: int, lasts: float, version: int) -> None:
        """What the ledger has of a counter that is unknown. Nothing happens to one that is known, or if something of it
        was settled since that version: the ledger may have been read before."""

    async def settle(self, request: str, charges: Mapping[str, int], leases: Sequence[str] = ()) -> None:
        """What the request has really used of these counters takes the place of what it held, and its places among the
        requests at once are free. To be called once, after its row in the ledger was closed: for a counter that is
        unknown, the ledger says so when it is seeded."""

    async def used(self, counters: Sequence[str]) -> list[int | None]:
        """Settled and held; None where that is unknown."""

    async def renew(self, request: str, leases: Sequence[str]) -> None:
        """It still runs."""

    async def forget(self, counters: Sequence[str]) -> None:
        """They are seeded anew when they are needed. Places among the requests at once stay."""

    async def close(self) -> None: ...


@dataclass(slots=True)
class _Counter:
    settled: int
    until: float
    held: dict[str, int] = field(default_factory=dict)

    @property
    def used(self) -> int:
        return self.settled + sum(self.held.values())


class LocalCounters:
    """Belongs to one event loop: nothing here waits, so nobody comes between."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counters: dict[str, _Counter] = {}
        self._leases: dict[str, dict[str, float]] = {}
        self._misses = 0
        """How often something was settled of any counter that is unknown."""
        self._missed: dict[str, int] = {}
        """By counter, the number of the last time; for one that is not in here, that of the last sweep counts."""
        self._missed_before = 0
        self._swept = clock()

    async def take(self, request: str, demands: Sequence[Demand], *, least: int, wanted: int) -> Verdict:
        self._sweep()
        unknown = [at for at, each in enumerate(demands) if not each.lease and each.counter not in self._counters]
        if unknown:
            return Unknown({at: self._version(demands[at].counter) for at in unknown})
        tokens = wanted
        before = [self._used(each, request) for each in demands]
        for at, (each, used) in enumerate(zip(demands, before, strict=True)):
            if each.limit is None:
                continue
            room = each.limit - used - each.base
            if room < each.unit * least:
                return Short(at, used)
            if each.unit:
                tokens = min(tokens, room // each.unit)
        for each in demands:
            if each.lease:
                self._leases.setdefault(each.counter, {})[request] = self._clock() + LEASE_SECONDS
            else:
                counter = self._counters[each.counter]
                counter.until = max(counter.until, self._clock() + each.lasts)
                if amount := each.base + each.unit * tokens:
                    counter.held[request] = counter.held.get(request, 0) + amount
        return Granted(tokens, [self._used(each, "") for each in demands])

    async def seed(self, counter: str, settled: int, lasts: float, version: int) -> None:
        if self._version(counter) == version:
            self._missed.pop(counter, None)
            self._counters.setdefault(counter, _Counter(settled, self._clock() + lasts))

    async def settle(self, request: str, charges: Mapping[str, int], leases: Sequence[str] = ()) -> None:
        for name in leases:
            self._leases.get(name, {}).pop(request, None)
        for name, charge in charges.items():
            if (counter := self._counters.get(name)) is None:
                self._misses += 1
                self._missed[name] = self._misses
            else:
                counter.held.pop(request, None)
                counter.settled += charge

    async def used(self, counters: Sequence[str]) -> list[int | None]:
        found: list[int | None] = []
        for name in counters:
            if name in self._leases:
                found.append(UNIT * len(self._leased(name)))
            else:
                counter = self._counters.get(name)
                found.append(None if counter is None else counter.used)
        return found

    async def renew(self, request: str, leases: Sequence[str]) -> None:
        for name in leases:
            if request in self._leases.get(name, {}):
                self._leases[name][request] = self._clock() + LEASE_SECONDS

    async def forget(self, counters: Sequence[str]) -> None:
        for name in counters:
            self._counters.pop(name, None)

    async def close(self) -> None:
        self._counters.clear()

    def _version(self, counter: str) -> int:
        return self._missed.get(counter, self._missed_before)

    def _used(self, demand: Demand, request: str) -> int:
        """Of a lease, without the request's own place."""
        if not demand.lease:
            return self._counters[demand.counter].used
        return UNIT * sum(other != request for other in self._leased(demand.counter))

    def _leased(self, name: str) -> dict[str, float]:
        leases = self._leases.setdefault(name, {})
        for request in [request for request, until in leases.items() if until <= self._clock()]:
            del leases[request]
        return leases

    def _sweep(self) -> None:
        """Counters of windows long over go, once a minute."""
        now = self._clock()
        if now - self._swept < 60:
            return
        self._swept = now
        self._missed.clear()
        self._missed_before = self._misses
        for name in [name for name, counter in self._counters.items() if counter.until <= now and not counter.held]:
            del self._counters[name]
        for name in [name for name in self._leases if not self._leased(name)]:
            del self._leases[name]
