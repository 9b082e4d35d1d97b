"""`DELETE /v1/requests/{id}`: a running generation is cancelled by its owner."""

import asyncio
import re
from time import monotonic

from channels.db import database_sync_to_async
from msgspec import Struct

from accounts import ledger
from accounts.events import publish
from accounts.models import Scope
from gateway import errors, runtime
from gateway.answers import encode
from gateway.endpoint import KeyedEndpoint

PATIENCE_SECONDS = 5.0
"""What a gateway gets to cancel and settle a request."""
LOOK_SECONDS = 0.05
POSSIBLE = re.compile(r"[A-Za-z0-9._-]{1,96}")
"""Ids that requests or answers can have."""


class CancelledRequest(Struct):
    id: str
    object: str = "request"
    status: str = "cancelled"


class RunningRequest(KeyedEndpoint):
    methods = ("DELETE",)
    needs = Scope.GENERATE

    async def handle(self, body: bytes) -> None:
        id: str = self.scope["url_route"]["kwargs"]["id"]
        owner = self.principal.user_id
        if here := runtime.current().requests.withdraw(id, owner):
            await asyncio.wait(here, timeout=PATIENCE_SECONDS)
        elif not (POSSIBLE.fullmatch(id) and await cancelled_elsewhere(id, owner)):
            # Of others' requests as well: who asks must not learn which ids there are.
            raise errors.request_not_found(id)
        await self.answer(encode(CancelledRequest(id)))


async def cancelled_elsewhere(id: str, owner: int) -> bool:
    """Has the gateway cancel it that works on it, if one does. The ledger says how that went; raises ApiError if it
    says nothing."""
    running = await database_sync_to_async(ledger.running_of_user)(owner, id)
    for name in running:
        await asyncio.to_thread(publish, runtime.CANCEL, id=name, owner=owner)
    until = monotonic() + PATIENCE_SECONDS
    while running and monotonic() < until:
        outcomes = await database_sync_to_async(ledger.outcomes_of)(running)
        if all(outcomes):
            return ledger.Outcome.CANCELLED in outcomes
        await asyncio.sleep(LOOK_SECONDS)
    if running:
        raise errors.gateway_silent()
    return False
