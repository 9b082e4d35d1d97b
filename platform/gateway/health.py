"""`GET /health` says that this process lives, `GET /health/ready` that it can answer. Both are open."""

from msgspec import UNSET, Struct, UnsetType

from gateway import runtime
from gateway.answers import encode
from gateway.endpoint import Endpoint
from inference.client import EngineUnavailable

PATIENCE_SECONDS = 1.0
"""Covers the connecting to an engine that nothing was asked of yet."""


class Life(Struct):
    status: str = "healthy"


class Readiness(Struct):
    status: str
    """"ready", "maintenance", "starting", "failed", "stopped", "no_model" or "draining"."""
    model: str | UnsetType | None = UNSET
    """The default model's name."""


class Health(Endpoint):
    async def handle(self, body: bytes) -> None:
        await self.answer(encode(Life()))


class Ready(Endpoint):
    async def handle(self, body: bytes) -> None:
        status, said = await readiness(runtime.current())
        await self.answer(encode(said), status=status)


async def readiness(gateway: "runtime.Runtime") -> tuple[int, Readiness]:
    """(HTTP status, what to say): whether a request to the default model would be worked on now, or refused because
    somebody wants it so."""
    if gateway.requests.draining:
        return 503, Readiness("draining")
    model = await gateway.registry.default()
    if model is None:
        return 503, Readiness("no_model", None)
    try:
        await gateway.engines.wait_ready(model.endpoint, PATIENCE_SECONDS)
    except EngineUnavailable:
        return 503, Readiness("starting" if model.state == "ready" else model.state, model.name)
    if await gateway.maintenance.current() is not None:
        # Still 200: a load balancer that turned away from us would turn away administrators and the admin, too.
        return 200, Readiness("maintenance", model.name)
    return 200, Readiness("ready", model.name)
