"""An engine that does what a test tells it: dies, fails, stalls, answers late. No real one can be brought to that at a
chosen moment. It speaks the real protocol over real sockets, so that everything on the gateway's side is real."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Self

import zmq
import zmq.asyncio

from inference.engine import protocol
from inference.engine.protocol import Cancel, Count, Generate, Hello, Ready, Reconcile, Reconciled, Stats, Tally

Script = Callable[["ScriptedEngine", Generate], AsyncIterator[Any]]


class ScriptedEngine:
    """`script` yields each request's events; a list is sent as one message."""

    def __init__(
        self, endpoint: str, script: Script, *, instance: str = "instance-1", stats: Stats | None = None
    ) -> None:
        self._endpoint = endpoint
        self._script = script
        self._instance = instance
        self._stats = stats
        self.requests: list[Generate] = []
        self.said = 0
        """How many messages have left, `Ready` included."""
        self.cancelled: dict[str, asyncio.Event] = {}
        self.remembered: dict[str, Tally] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._context = zmq.asyncio.Context()
        self._intake, self._output = self._context.socket(zmq.ROUTER), self._context.socket(zmq.ROUTER)
        self._intake.router_handover = self._output.router_handover = True
        # Sending to a client whose connection is not complete yet fails instead of vanishing.
        self._output.router_mandatory = True
        for socket, address in zip((self._intake, self._output), protocol.addresses(self._endpoint), strict=True):
            socket.bind(address)
        self._spawn(self._serve())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.die()
        self._context.term()

    def die(self) -> None:
        """As a killed process: its connections break, behind what it had sent."""
        self._intake.close(linger=0)
        self._output.close(linger=1000)

    async def _serve(self) -> None:
        while True:
            client, body = await self._intake.recv_multipart()
            match protocol.decode_client_message(body):
                case Hello():
                    await self._say(client, self._ready())
                    if self._stats is not None:
                        await self._say(client, self._stats)
                case Generate() as request:
                    self.requests.append(request)
                    self.cancelled[request.id] = asyncio.Event()
                    self._spawn(self._run(client, request))
                case Count(request):
                    # Never answered: real engines do that in time.
                    self.requests.append(request)
                case Cancel(id):
                    self.cancelled[id].set()
                case Reconcile(ids):
                    known = {id: self.remembered[id] for id in ids if id in self.remembered}
                    await self._say(client, Reconciled(known))

    async def _run(self, client: bytes, request: Generate) -> None:
        async for events in self._script(self, request):
            await self._say(client, *(events if isinstance(events, list) else [events]))

    async def _say(self, client: bytes, *events: Any) -> None:
        while True:
            try:
                await self._output.send_multipart([client, protocol.encode(list(events))])
                self.said += 1
                return
            except zmq.ZMQError as error:
                if error.errno != zmq.EHOSTUNREACH:
                    raise
                await asyncio.sleep(0.01)

    def _ready(self) -> Ready:
        return Ready(instance=self._instance, model="scripted", context_length=4096, pid=1, has_chat_template=True)

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
