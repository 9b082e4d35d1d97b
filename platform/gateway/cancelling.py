"""A running generation is cancelled: by its owner (`DELETE /v1/requests/{id}`) or by an administrator."""

import asyncio
import re
from collections.abc import Sequence
from time import monotonic

from channels.db import database_sync_to_async
from django.db import transaction
from msgspec import Struct

from accounts import audit, ledger
from accounts.events import publish, publish_on_commit
from accounts.models import Scope, UsageRecord, User
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


@transaction.atomic
def do_cancel_requests(records: Sequence[UsageRecord], *, acting_user: User | None) -> None:
    """Has them cancelled by whichever gateways work on them, whoever's they are. Their rows in the ledger say when that
    is done: `wait_for_end`."""
    for record in records:
        before = {
            "user": record.username, "key_prefix": record.key_prefix, "model": record.model,
            "endpoint": record.endpoint, "started_at": record.started_at,
        }  # fmt: skip
        audit.record("request.cancelled", record, acting_user=acting_user, before=before)
        publish_on_commit(runtime.CANCEL, record=record.request_id)


async def wait_for_end(ids: list[str]) -> list[str]:
    """How these ended, in the ledger's words, as soon as all have; after PATIENCE_SECONDS empty for those that have
    not. In a gateway process: what runs here need not hear of it through events."""
    requests = runtime.current().requests
    if here := [task for id in ids for task in requests.stop(id)]:
        await asyncio.wait(here, timeout=PATIENCE_SECONDS)
    until = monotonic() + PATIENCE_SECONDS
    while True:
        outcomes: list[str] = await database_sync_to_async(ledger.outcomes_of)(ids)
        if all(outcomes) or monotonic() > until:
            return outcomes
        await asyncio.sleep(LOOK_SECONDS)
