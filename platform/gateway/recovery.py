"""Closing the ledger rows that this gateway's former life left open."""

import logging
from itertools import groupby

from channels.db import database_sync_to_async

from accounts import ledger
from accounts.ledger import RunningRecord
from gateway.runtime import Runtime
from inference.client import EngineUnavailable
from inference.engine.protocol import Tally

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 3.0
"""How long an engine is asked. One that takes longer has been restarted itself and remembers nothing."""


async def settle_former_life(gateway: Runtime, left: list[RunningRecord]) -> None:
    """Settles with what the engines remember; what none of them knows is marked interrupted."""
    for model, records in groupby(sorted(left, key=lambda record: record.model), key=lambda record: record.model):
        ids = [record.request_id for record in records]
        tallies = await remembered(gateway, model, ids)
        await database_sync_to_async(close_rows)(ids, tallies)
        logger.info("%d requests of a former life closed, %d of them with their tally.", len(ids), len(tallies))


async def remembered(gateway: Runtime, model: str, ids: list[str]) -> dict[str, Tally]:
    served = await gateway.registry.resolve(model)
    if served is None:
        return {}
    try:
        return await gateway.engines.reconcile(served.endpoint, ids, PATIENCE_SECONDS)
    except EngineUnavailable:
        return {}


def close_rows(ids: list[str], tallies: dict[str, Tally]) -> None:
    for request_id in ids:
        try:
            close_row(request_id, tallies.get(request_id))
        except Exception as error:
            # One row that can't be closed must not keep the others open.
            logger.error("%s could not be closed: %s", request_id, type(error).__name__)


def close_row(request_id: str, tally: Tally | None) -> None:
    if tally is None:
        ledger.interrupt(request_id)
        return
    ledger.settle(
        request_id,
        outcome="interrupted",
        prompt_tokens=tally.prompt_tokens,
        cached_tokens=min(tally.cached_tokens, tally.prompt_tokens),
        completion_tokens=tally.completion_tokens,
        queue_ms=tally.queue_ms,
        ttft_ms=None,
        duration_ms=tally.queue_ms + tally.prefill_ms + tally.decode_ms,
        engine_seconds=tally.engine_seconds,
    )
