"""The gateway's end of the engine protocol: one client per process and event loop, for all engines."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from time import monotonic
from typing import Any, NamedTuple

import msgspec
import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from inference.engine import protocol
from inference.engine.protocol import (
    Accepted,
    Counted,
    Delta,
    Embedded,
    Ended,
    Failed,
    Finished,
    FirstToken,
    Ranked,
    Ready,
    Reconciled,
    Stats,
    Tally,
)

log = logging.getLogger(__name__)

SCOPE_KEY = "atelier.engines"
"""Where an ASGI scope has the EngineClient of the process that it arrived in."""
GREET_SECONDS = 0.05
SOONEST_SECONDS, LATEST_SECONDS = 1.0, 600.0
"""Bounds of a guess when an engine will be there."""

GenerationEvent = Accepted | FirstToken | Delta | Ended | Embedded | Ranked | Finished | Failed


class EngineError(Exception):
    """Something is wrong between us and an engine."""


class EngineUnavailable(EngineError):
    """The engine is not there: still loading, restarting, or stopped."""


class EngineDied(EngineError):
    """The engine process went away while it worked on this request."""


class Heartbeat(NamedTuple):
    stats: Stats
    seconds_ago: float


class Generation:
    """One running request: an async iterator over lists of events, each list all that came since the last one.

    It ends after the list whose last event is Finished or Failed, and raises EngineDied if the engine goes away
    before. To be consumed by one task.
    """

    def __init__(self, link: "_Link", id: str):
        self.id = id
        self._link = link
        self._events: list[GenerationEvent] = []
        self._arrived = asyncio.Event()
        self._died = False
        self._ended = False
        self._cancelled = False

    def __aiter__(self) -> AsyncIterator[list[GenerationEvent]]:
        return self

    async def __anext__(self) -> list[GenerationEvent]:
        if self._ended:
            raise StopAsyncIteration
        if not self._events and not self._died:
            await self._arrived.wait()
        self._arrived.clear()
        events, self._events = self._events, []
        if not events:
            self._ended = True
            raise EngineDied
        self._ended = isinstance(events[-1], Finished | Failed)
        return events

    def cancel(self) -> None:
        """Asks the engine to stop. Harmless when it has ended or was cancelled before."""
        if not (self._cancelled or self._ended or self._died):
            self._cancelled = True
            self._link.send(protocol.Cancel(self.id))

    async def drain(self, timeout: float) -> Finished | Failed | None:
        """The end of a cancelled request, with its true tally; None if it doesn't come within `timeout` seconds."""
        last: GenerationEvent | None = None
        try:
            async with asyncio.timeout(timeout):
                async for events in self:
                    last = events[-1]
        except (TimeoutError, EngineDied):
            return None
        return last if isinstance(last, Finished | Failed) else None

    def _push(self, event: GenerationEvent) -> None:
        self._events.append(event)
        self._arrived.set()

    def _die(self) -> None:
        self._died = True
        self._arrived.set()


class _Link:
    """The two sockets to one engine, and what is under way on them."""

    def __init__(self, context: zmq.asyncio.Context, endpoint: str, identity: bytes):
        intake, output = protocol.addresses(endpoint)
        self.endpoint = endpoint
        self.stats: Stats | None = None
        self._heard_at = 0.0
        self._heard = asyncio.Event()
        self._ready: Ready | None = None
        self._became_ready = asyncio.Event()
        self._away_since: float | None = monotonic()
        self._last_away: float | None = None
        """Seconds that it was away the last time that it was seen to come."""
        self._running: dict[str, Generation] = {}
        self._counting: dict[str, asyncio.Future[Counted | Failed]] = {}
        self._reconciled: asyncio.Queue[Reconciled] = asyncio.Queue()
        self._context = context
        self._intake = self._connect(identity, intake)
        self._output = self._connect(identity, output)
        self._monitor = self._output.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self._output.connect(output)
        self._intake.connect(intake)
        self._connected = False
        self._tasks = [asyncio.create_task(run) for run in (self._receive(), self._watch(), self._greet())]

    def _connect(self, identity: bytes, address: str) -> zmq.asyncio.Socket:
        socket = self._context.socket(zmq.DEALER)
        socket.identity = identity
        socket.linger = 200
        socket.sndhwm = socket.rcvhwm = 0
        # An engine that restarts is back within a second or two of being ready.
        socket.reconnect_ivl = 50
        socket.reconnect_ivl_max = 500
        # libzmq's own heartbeat, for hosts that vanish without closing their sockets.
        socket.heartbeat_ivl = 2000
        socket.heartbeat_timeout = 6000
        return socket

    def send(self, message: protocol.ClientMessage) -> None:
        # A DEALER without a high-water mark takes every message at once; the future is done before it is looked at.
        self._intake.send(protocol.encode(message))

    async def ready(self, timeout: float) -> Ready:
        if self._ready is None:
            try:
                await asyncio.wait_for(self._became_ready.wait(), timeout)
            except TimeoutError:
                raise EngineUnavailable(f"no engine answers at {self.endpoint}") from None
        assert self._ready is not None
        return self._ready

    def generate(self, request: protocol.Request) -> Generation:
        generation = Generation(self, request.id)
        if self._ready is None:
            generation._die()
            return generation
        self._running[request.id] = generation
        request.instance = self._ready.instance
        self.send(request)
        return generation

    async def count(self, request: protocol.Generate) -> Counted | Failed:
        if self._ready is None:
            raise EngineDied
        answer: asyncio.Future[Counted | Failed] = asyncio.get_running_loop().create_future()
        self._counting[request.id] = answer
        request.instance = self._ready.instance
        self.send(protocol.Count(request))
        try:
            return await answer
        finally:
            del self._counting[request.id]

    async def reconcile(self, ids: list[str], timeout: float) -> dict[str, Tally]:
        await self.ready(timeout)
        self.send(protocol.Reconcile(ids))
        try:
            return (await asyncio.wait_for(self._reconciled.get(), timeout)).tallies
        except TimeoutError:
            raise EngineUnavailable(f"the engine at {self.endpoint} does not answer") from None

    def expected_in(self) -> float:
        """Once it has taken longer than the last time, or nobody knows, as long again as it is away."""
        if self._away_since is None:
            return SOONEST_SECONDS
        away = monotonic() - self._away_since
        left = away if self._last_away is None or away > self._last_away else self._last_away - away
        return min(max(left, SOONEST_SECONDS), LATEST_SECONDS)

    async def heartbeat(self, timeout: float) -> Heartbeat | None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._heard.wait(), timeout)
        return None if self.stats is None else Heartbeat(self.stats, monotonic() - self._heard_at)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._lost()
        self._output.disable_monitor()
        for socket in (self._monitor, self._intake, self._output):
            socket.close()

    async def _receive(self) -> None:
        while True:
            body = await self._output.recv()
            try:
                events = protocol.decode_events(body)
            except msgspec.DecodeError:
                log.exception("the engine at %s sent what is not of this protocol", self.endpoint)
                continue
            for event in events:
                self._handle(event)

    def _handle(self, event: protocol.Event) -> None:
        match event:
            case Stats():
                self.stats, self._heard_at = event, monotonic()
                self._heard.set()
            case Ready():
                if self._ready is not None and self._ready.instance != event.instance:
                    self._lost()
                self._ready = event
                if self._away_since is not None:
                    self._last_away, self._away_since = monotonic() - self._away_since, None
                self._became_ready.set()
            case Reconciled():
                self._reconciled.put_nowait(event)
            case Counted():
                self._counted(event)
            case Failed() if event.id in self._counting:
                self._counted(event)
            case Finished() | Failed():
                if (generation := self._running.pop(event.id, None)) is not None:
                    generation._push(event)
            case _:
                if (generation := self._running.get(event.id)) is not None:
                    generation._push(event)

    def _counted(self, event: Counted | Failed) -> None:
        answer = self._counting.get(event.id)
        if answer is not None and not answer.done():
            answer.set_result(event)

    async def _watch(self) -> None:
        """Follows the connection: the operating system tells at once when the engine's process is gone."""
        while True:
            message: Any = await recv_monitor_message(self._monitor)
            if message["event"] == zmq.EVENT_DISCONNECTED:
                self._lost()
            self._connected = message["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED

    async def _greet(self) -> None:
        """Says hello until the engine answers: its socket may learn of us a moment after ours learnt of it, and
        until then it has nobody to answer to."""
        while True:
            if self._connected and self._ready is None:
                self.send(protocol.Hello())
            await asyncio.sleep(GREET_SECONDS)

    def _lost(self) -> None:
        if self._ready is not None:
            self._away_since = monotonic()
        self._ready = self.stats = None
        self._became_ready.clear()
        self._heard.clear()
        running, self._running = self._running, {}
        for generation in running.values():
            generation._die()
        for answer in self._counting.values():
            if not answer.done():
                answer.set_exception(EngineDied())


class EngineClient:
    """Speaks to every engine that it is asked about, under one name.

    identity: unique among all clients of an engine; a client that takes another's name gets its answers.
    """

    def __init__(self, identity: str):
        self._identity = identity.encode()
        self._context = zmq.asyncio.Context()
        self._links: dict[str, _Link] = {}

    def _link(self, endpoint: str) -> _Link:
        if endpoint not in self._links:
            self._links[endpoint] = _Link(self._context, endpoint, self._identity)
        return self._links[endpoint]

    async def wait_ready(self, endpoint: str, timeout: float) -> Ready:
        """What the engine says of itself; waits up to `timeout` seconds for it. Raises EngineUnavailable."""
        return await self._link(endpoint).ready(timeout)

    def generate(self, endpoint: str, request: protocol.Request) -> Generation:
        """Starts a request. Where the engine is not there, the generation's first step raises EngineDied."""
        return self._link(endpoint).generate(request)

    async def count(self, endpoint: str, request: protocol.Generate) -> Counted | Failed:
        """How long the request's prompt is; it is not run. Raises EngineDied where the engine is not there."""
        return await self._link(endpoint).count(request)

    async def reconcile(self, endpoint: str, ids: list[str], timeout: float) -> dict[str, Tally]:
        """How requests of a former life of this client ended, as far as the engine knows; those still running are
        cancelled. Raises EngineUnavailable."""
        return await self._link(endpoint).reconcile(ids, timeout)

    def expected_in(self, endpoint: str) -> float:
        """Seconds until an engine that is not there likely is, by how long it took before."""
        return self._link(endpoint).expected_in()

    def stats(self, endpoint: str) -> Stats | None:
        """The engine's last heartbeat; None while it is not there."""
        return self._link(endpoint).stats

    async def heartbeat(self, endpoint: str, timeout: float) -> Heartbeat | None:
        """The engine's last heartbeat, with its age; waits up to `timeout` seconds for the first one."""
        return await self._link(endpoint).heartbeat(timeout)

    async def forget(self, endpoint: str) -> None:
        """Closes the connection to an engine that won't come back."""
        if (link := self._links.pop(endpoint, None)) is not None:
            await link.close()

    async def close(self) -> None:
        for endpoint in list(self._links):
            await self.forget(endpoint)
        self._context.term()
