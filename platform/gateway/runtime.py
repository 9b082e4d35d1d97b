"""What a gateway process shares between its requests: keys, models, engines, and the requests that are running.

All of it belongs to one event loop. It comes to life with the loop's first request, so that the application is pure
ASGI and needs no server's help; the `gateway` command starts it earlier and ends it in order.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Literal
from weakref import WeakKeyDictionary

from django.conf import settings

from accounts.authentication import KeyResolver
from accounts.events import subscribe
from accounts.notices import MaintenanceWatch
from accounts.quotas.counters import LocalCounters
from accounts.quotas.limiter import Limiter
from accounts.quotas.redis_counters import RedisCounters
from accounts.quotas.rules import Rules
from gateway.context import RequestContext
from gateway.database import DatabaseThreads
from gateway.idle import IdleLanes
from gateway.insist import cancelled
from gateway.media.reader import MediaReader
from gateway.media.rules import from_settings
from gateway.roster import Roster
from inference.client import EngineClient
from inference.registry import Registry

logger = logging.getLogger(__name__)

CANCEL = "requests.cancel"
"""Says which generation some gateway is to cancel: `id` (as in the ledger) and `owner`, or, if it is an administrator
who wants that, `record` (the same id) alone."""
LONGEST_NAME = 64
"""As the ledger's column."""
RESTART_SECONDS = 1.0
SETTLE_SECONDS = 4.0
"""What cancelled requests get to hear the engine's tally and to be settled. (The supervisor gives us 5.)"""


class Requests:
    """The requests under way, so that a server which stops can wait for them."""

    def __init__(self) -> None:
        self.draining = False
        self._running: dict[asyncio.Future[None], RequestContext] = {}

    @contextmanager
    def running(self, task: asyncio.Future[None], context: RequestContext) -> Iterator[None]:
        self._running[task] = context
        try:
            yield
        finally:
            del self._running[task]

    def withdraw(self, id: str, owner: int) -> list[asyncio.Future[None]]:
        """Cancels this user's generations of that id. They are done when they are settled; none, if none runs here."""
        return self._cancel(lambda each: each.owner == owner and each.is_called(id), "owner")

    def stop(self, record_id: str) -> list[asyncio.Future[None]]:
        """The same for an administrator, who means one row of the ledger."""
        return self._cancel(lambda each: each.record_id == record_id, "administrator")

    def generations(self) -> list[RequestContext]:
        """Those under way that can be cancelled."""
        return [each for each in self._running.values() if each.owner is not None and each.abandoned is None]

    def _cancel(
        self, meant: Callable[[RequestContext], bool], by: Literal["owner", "administrator"]
    ) -> list[asyncio.Future[None]]:
        found = [
            (task, context)
            for task, context in self._running.items()
            if context.owner is not None and context.abandoned is None and meant(context)
        ]
        for task, context in found:
            context.owner, context.withdrawn, context.abandoned = None, by, "cancelled"
            task.cancel()
        return [task for task, _ in found]

    async def watch(self) -> None:
        """Cancels what other gateways were asked for and don't have; runs as long as the gateway."""
        async for event in subscribe(CANCEL):
            match event.payload:
                case {"id": str(id), "owner": int(owner)}:
                    self.withdraw(id, owner)
                case {"record": str(record_id)}:
                    self.stop(record_id)

    async def drain(self, seconds: float, hurry: asyncio.Event) -> None:
        """Refuse new requests, give the others this long (less when `hurry` is set), then cancel what still runs."""
        self.draining = True
        if not await self._settled_within(seconds, hurry):
            logger.warning("%d requests are still running and are cancelled.", len(self._running))
            for task, context in self._running.items():
                context.abandoned = context.abandoned or "cancelled"
                task.cancel()
            await self._settled_within(SETTLE_SECONDS)

    async def _settled_within(self, seconds: float, hurry: asyncio.Event | None = None) -> bool:
        ends = asyncio.get_running_loop().time() + seconds
        while self._running and asyncio.get_running_loop().time() < ends and not (hurry and hurry.is_set()):
            await asyncio.wait(set(self._running), timeout=0.2)
        return not self._running


class Runtime:
    def __init__(self, name: str) -> None:
        self.name = name
        """Who opened a ledger row: the next life of this gateway looks for what this one left under it."""
        self.keys = KeyResolver()
        self.registry = Registry()
        self.engines = EngineClient(name)
        self.database = DatabaseThreads()
        self.rules = Rules(self.database.run)
        self._counters = RedisCounters(settings.REDIS_URL) if settings.REDIS_URL else LocalCounters()
        self.limiter = Limiter(self.rules, self._counters, run=self.database.run)
        self.requests = Requests()
        self.idle = IdleLanes()
        self.media = MediaReader(from_settings())
        self.recovered = asyncio.Event()
        """What a former life left in the ledger is closed. Counters in memory do not know of it before, and would let
        in more than there is."""
        self.recovered.set()
        self.roster = Roster(name, self.requests.generations)
        self.maintenance = MaintenanceWatch(self.database.run)
        watches = (
            self.keys.watch, self.registry.watch, self.requests.watch, self.roster.watch, self.rules.watch,
            self.maintenance.watch,
        )  # fmt: skip
        self._watchers = [asyncio.ensure_future(_forever(watch)) for watch in watches]

    async def close(self) -> None:
        await cancelled(self._watchers)
        await self.media.close()
        await self.engines.close()
        await self._counters.close()
        await asyncio.to_thread(self.database.close)
        _runtimes.pop(asyncio.get_running_loop(), None)


_runtimes: WeakKeyDictionary[asyncio.AbstractEventLoop, Runtime] = WeakKeyDictionary()


def current() -> Runtime:
    """The running loop's runtime. One that no command named gets a name that no later process will take for its own."""
    loop = asyncio.get_running_loop()
    if (found := _runtimes.get(loop)) is not None:
        return found
    return start(f"{socket.gethostname()[:32]}-{os.getpid()}-{id(loop):x}")


def start(name: str) -> Runtime:
    """Brings the running loop's runtime to life under this name."""
    runtime = _runtimes[asyncio.get_running_loop()] = Runtime(name)
    return runtime


async def _forever(watch: Callable[[], Awaitable[None]]) -> None:
    """A watcher that fails is started again: without it, a revoked key would live on until its cache entry ends."""
    while True:
        try:
            await watch()
        except Exception as error:
            logger.error("%s failed (%s) and starts again.", watch.__qualname__, type(error).__name__)
        await asyncio.sleep(RESTART_SECONDS)
