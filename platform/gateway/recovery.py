"""Closing the ledger rows that this gateway's former life left open."""

import logging
from itertools import groupby

from channels.db import database_sync_to_async
from redis import RedisError

from accounts import ledger
from accounts.ledger import RunningRecord
from accounts.quotas.rules import Used
from gateway.runtime import Runtime
from inference.client import EngineUnavailable
from inference.engine.protocol import Tally

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 3.0
"""How long an engine is asked. One that takes longer has been restarted itself and remembers nothing."""


async def settle_former_life(gateway: Runtime, left: list[RunningRecord]) -> None:
    """Settles with what the engines remember; what none of them knows is marked interrupted. What they have reserved
    of limits is given back."""
    for model, records in groupby(sorted(left, key=lambda record: record.model), key=lambda record: record.model):
        rows = list(records)
        tallies = await remembered(gateway, model, [record.request_id for record in rows])
        closed = await database_sync_to_async(close_rows)(rows, tallies)
        for record in closed:
            await give_back(gateway, record, tallies.get(record.request_id, Tally()))
        logger.info("%d requests of a former life closed, %d of them with their tally.", len(rows), len(tallies))


async def remembered(gateway: Runtime, model: str, ids: list[str]) -> dict[str, Tally]:
    served = await gateway.registry.resolve(model)
    if served is None:
        return {}
    try:
        return await gateway.engines.reconcile(served.endpoint, ids, PATIENCE_SECONDS)
    except EngineUnavailable:
        return {}


def close_rows(records: list[RunningRecord], tallies: dict[str, Tally]) -> list[RunningRecord]:
    """Those that were still open."""
    closed = []
    for record in records:
        try:
            if close_row(record.request_id, tallies.get(record.request_id)):
                closed.append(record)
        except Exception as error:
            # One row that can't be closed must not keep the others open.
            logger.error("%s could not be closed: %s", record.request_id, type(error).__name__)
    return closed


def close_row(request_id: str, tally: Tally | None) -> bool:
    if tally is None:
        return ledger.interrupt(request_id)
    return ledger.settle(
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


async def give_back(gateway: Runtime, record: RunningRecord, tally: Tally) -> None:
    cached = min(tally.cached_tokens, tally.prompt_tokens)
    used = Used(tally.prompt_tokens, cached, tally.completion_tokens, tally.engine_seconds)
    try:
        await gateway.limiter.settle_record(record, used)
    except RedisError as error:
        logger.error("%s could not be taken from its counters: %s", record.request_id, type(error).__name__)
