"""How the worker gets in, and what batches may have of an engine that serves others."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.utils import timezone

from accounts.batches import tickets
from accounts.models import ApiKey
from gateway import runtime
from inference.engine.protocol import Accepted, Delta, Ended, Finished, FirstToken, Stats
from tests.gateway.batch_work import (
    batch_of,
    change,
    create,
    ended,
    line,
    stopped,
    ticket_of,
    try_ticket,
    without_sockets,
    work,
)
from tests.gateway.local import LocalGateway, until
from tests.gateway.scripts import TALLY, answers

in_thread = database_sync_to_async


@pytest.fixture(autouse=True)
def worker(monkeypatch: pytest.MonkeyPatch) -> None:
    without_sockets(monkeypatch)


# --- tickets ---------------------------------------------------------------------------------------------------------


async def test_a_ticket_is_good_for_its_batchs_endpoint_while_it_runs(gateway: LocalGateway) -> None:
    id = await create(gateway, line("a"))
    await work(stopped())
    ticket = await ticket_of(id)
    async with gateway.engine(answers):
        assert await try_ticket(gateway, ticket) == 200
        for path in ("/v1/completions", "/v1/files", "/v1/key", "/v1/models"):
            assert await try_ticket(gateway, ticket, path) in (401, 405), path
        another = ticket.replace(id, "batch_" + "0" * 32)
        for forged in (ticket[:-1], ticket[:-1] + "!", another, tickets.PREFIX, tickets.PREFIX + "x" * 999):
            assert await try_ticket(gateway, forged) == 401
        for fields in (
            {"leased_until": timezone.now()},
            {"leased_until": timezone.now() + timedelta(minutes=1), "status": "cancelling"},
            {"status": "in_progress", "lease": "another"},
            {"lease": ""},
        ):
            await change(id, **fields)
            assert await try_ticket(gateway, ticket) == 401, fields


async def test_a_ticket_grows_old(gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    id = await create(gateway, line("a"))
    await work(stopped())
    ticket = await ticket_of(id)
    # Older than it may be at once: nobody waits for a minute here.
    monkeypatch.setattr(tickets, "LIFETIME_SECONDS", -1)
    assert await try_ticket(gateway, ticket) == 401


async def test_the_keys_limits_hold_but_its_networks(gateway: LocalGateway) -> None:
    """The worker is where it is."""

    def limit(**limits: Any) -> None:
        ApiKey.objects.update(**limits)

    id = await create(gateway, line("a"))
    await in_thread(limit)(allowed_networks=["10.0.0.0/8"])
    runtime.current().keys.forget_all()
    assert (await gateway.ask("/v1/models", method="GET")).status == 403
    async with gateway.engine(answers):
        await work()
    await in_thread(limit)(allowed_networks=[])
    runtime.current().keys.forget_all()
    assert (await batch_of(gateway, id))["request_counts"]["completed"] == 1


# --- idle capacity ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stats", "refused"),
    [
        (Stats(steps=1, running=0, waiting=0), False),
        (Stats(steps=1, running=3, waiting=2, batch=5), False),
        (Stats(steps=1, running=1, waiting=0), False),
        (Stats(steps=1, running=1, waiting=1, batch=1), True),
        (Stats(steps=1, running=0, waiting=1), True),
    ],
)
async def test_a_line_waits_while_others_wait(gateway: LocalGateway, stats: Stats, refused: bool) -> None:
    id = await create(gateway, line("a"))
    await work(stopped())
    ticket = await ticket_of(id)
    async with gateway.engine(answers, stats=stats) as engine:
        await until(gateway.is_ready)
        await until(lambda: engine.said >= 2)
        await until(lambda: all(link.stats for link in runtime.current().engines._links.values()))
        assert await try_ticket(gateway, ticket) == (503 if refused else 200)
        assert (await gateway.ledger() == []) is refused
        # Whoever is no batch is served.
        assert await try_ticket(gateway, gateway.key) == 200


async def test_beside_others_one_line_runs_at_a_time(gateway: LocalGateway) -> None:
    id = await create(gateway, *(line(name) for name in "abc"))
    most = 0

    async def counts(engine: Any, request: Any) -> Any:
        nonlocal most
        engine.running = getattr(engine, "running", 0) + 1
        most = max(most, engine.running)
        yield Accepted(request.id, 7)
        yield [FirstToken(request.id, 1.0, 3.0), Delta(request.id, "Hello", 2)]
        await asyncio.sleep(0.05)
        engine.running -= 1
        yield [Ended(request.id, 0, "stop"), Finished(request.id, "stop", TALLY)]

    async with gateway.engine(counts, stats=Stats(steps=1, running=1, waiting=0)) as engine:
        await until(gateway.is_ready)
        await until(lambda: engine.said >= 2)
        await until(lambda: ended(gateway, id))
    assert most == 1
    assert (await batch_of(gateway, id))["request_counts"]["completed"] == 3
