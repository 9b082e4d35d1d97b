"""The two sockets to one engine."""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import Any, NamedTuple

import msgspec
import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from inference.client.errors import EngineDied, EngineUnavailable
from inference.client.generation import Generation
from inference.engine import protocol
from inference.engine.protocol import Counted, Failed, Finished, Ready, Reconciled, Stats, Tally

log = logging.getLogger(__name__)

GREET_SECONDS = 0.05
SOONEST_SECONDS, LATEST_SECONDS = 1.0, 600.0
"""Bounds of a guess when an engine will be there."""
PACE_SECONDS = 5.0
"""Over which an engine's pace is told: long enough for a number that can be read, short enough to be now."""


class Pace(NamedTuple):
    """Tokens a second, over the last PACE_SECONDS."""

    generated: float
    prefilled: float


class Heartbeat(NamedTuple):
    stats: Stats
    seconds_ago: float
    pace: Pace | None = None
    """None until there were two heartbeats to tell it from."""


class Link:
    """The two sockets to one engine, and what is under way on them."""

    def __init__(self, context: zmq.asyncio.Context, endpoint: str, identity: bytes):
        intake, output = protocol.addresses(endpoint)
        self.endpoint = endpoint
        self._shared: tuple[protocol.SharedText, ...] = ()
        """What this life of the engine was told last."""
        self._beats: deque[tuple[float, Stats]] = deque()
        """The heartbeats of the last PACE_SECONDS, and when they came."""
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

    @property
    def stats(self) -> Stats | None:
        """The last heartbeat; None while it is not there."""
        return self._beats[-1][1] if self._beats else None

    def send(self, message: protocol.ClientMessage) -> None:
        # A DEALER without a high-water mark takes every message at once; the future is done before it is looked at.
        self._intake.send(protocol.encode(message))

    async def ready(self, timeout: float) -> Ready:
        if self._ready is None:
            try:
                # Not wait_for, which in Python 3.11 may lose a cancellation.
                async with asyncio.timeout(timeout):
                    await self._became_ready.wait()
            except TimeoutError:
                raise EngineUnavailable(f"no engine answers at {self.endpoint}") from None
        assert self._ready is not None
        return self._ready

    def generate(self, request: protocol.Request, shared: tuple[protocol.SharedText, ...]) -> Generation:
        generation = Generation(request.id, self.send)
        if self._ready is None:
            generation.die()
            return generation
        if shared != self._shared:
            self._shared = shared
            self.send(protocol.Share(list(shared)))
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
            async with asyncio.timeout(timeout):
                return (await self._reconciled.get()).tallies
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
            async with asyncio.timeout(timeout):
                await self._heard.wait()
        if not self._beats:
            return None
        (first_at, first), (last_at, last) = self._beats[0], self._beats[-1]
        pace = None
        if (seconds := last_at - first_at) > 0:
            generated = last.generated_tokens - first.generated_tokens
            prefilled = last.prefill_tokens - first.prefill_tokens
            pace = Pace(generated / seconds, prefilled / seconds)
        return Heartbeat(last, monotonic() - last_at, pace)

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
                now = monotonic()
                self._beats.append((now, event))
                while now - self._beats[0][0] > PACE_SECONDS:
                    self._beats.popleft()
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
                    generation.push(event)
            case _:
                if (generation := self._running.get(event.id)) is not None:
                    generation.push(event)

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
        self._ready = None
        self._shared = ()
        self._beats.clear()
        self._became_ready.clear()
        self._heard.clear()
        running, self._running = self._running, {}
        for generation in running.values():
            generation.die()
        for answer in self._counting.values():
            if not answer.done():
                answer.set_exception(EngineDied())
