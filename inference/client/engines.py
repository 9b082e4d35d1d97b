"""All engines that a process speaks to."""

import zmq.asyncio

from inference.client.generation import Generation
from inference.client.link import Heartbeat, Link
from inference.engine import protocol
from inference.engine.protocol import Counted, Failed, Ready, Stats, Tally

SCOPE_KEY = "atelier.engines"
"""Where an ASGI scope has the EngineClient of the process that it arrived in."""


class EngineClient:
    """Speaks to every engine that it is asked about, under one name.

    identity: unique among all clients of an engine; a client that takes another's name gets its answers.
    """

    def __init__(self, identity: str):
        self._identity = identity.encode()
        self._context = zmq.asyncio.Context()
        self._links: dict[str, Link] = {}

    def _link(self, endpoint: str) -> Link:
        if endpoint not in self._links:
            self._links[endpoint] = Link(self._context, endpoint, self._identity)
        return self._links[endpoint]

    async def wait_ready(self, endpoint: str, timeout: float) -> Ready:
        """What the engine says of itself; waits up to `timeout` seconds for it. Raises EngineUnavailable."""
        return await self._link(endpoint).ready(timeout)

    def generate(
        self, endpoint: str, request: protocol.Request, *, shared: tuple[protocol.SharedText, ...] = ()
    ) -> Generation:
        """Starts a request. Where the engine is not there, the generation's first step raises EngineDied. shared: the
        beginnings of prompts that are everybody's from now on."""
        return self._link(endpoint).generate(request, shared)

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
