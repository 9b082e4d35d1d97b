"""Maintenance as clients meet it: nothing new is generated, what runs goes on, and everybody is told."""

import json
from datetime import timedelta
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.utils import timezone

from accounts import notices
from accounts.events import Hub
from accounts.models import User
from accounts.notices import do_set_maintenance
from accounts.services import do_change_user
from gateway import runtime
from tests.gateway.local import LocalGateway, until
from tests.gateway.scripts import CHAT, answers, begins_and_waits, body

MESSAGES = json.dumps({"model": "scripted", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}).encode()
BODIES = {
    CHAT: body(),
    "/v1/completions": b'{"model": "scripted", "prompt": "hi"}',
    "/v1/responses": b'{"model": "scripted", "input": "hi"}',
    "/v1/messages": MESSAGES,
    "/v1/embeddings": b'{"model": "scripted", "input": "hi"}',
    "/v1/rerank": b'{"model": "scripted", "query": "a", "documents": ["b"]}',
}


async def set_to(**changes: Any) -> None:
    await database_sync_to_async(do_set_maintenance)(acting_user=None, **changes)
    # What an event does where there is a hub.
    runtime.current().maintenance.forget()


async def test_nothing_new_is_generated_and_nothing_is_charged(gateway: LocalGateway) -> None:
    await set_to(is_on=True, message="New disks.")
    async with gateway.engine(answers) as engine:
        for path, given in BODIES.items():
            answer = await gateway.ask(path, body=given)
            assert answer.status == 503, path
            assert "New disks." in answer.body.decode(), path
            assert answer.headers["x-should-retry"] == "false" and int(answer.headers["retry-after"]) > 0
            if path != "/v1/messages":
                error = answer.error
                assert (error["type"], error["code"], error["param"]) == ("server_error", "maintenance", None)
        streamed = await gateway.ask(CHAT, body=body(stream=True))
        assert (streamed.status, streamed.error["code"]) == (503, "maintenance")
        assert engine.requests == [] and await gateway.ledger() == []
        # What generates nothing works all the same.
        assert (await gateway.ask("/v1/models", method="GET")).status == 200
        assert (await gateway.ask("/v1/key", method="GET")).status == 200
        await set_to(is_on=False)
        assert (await gateway.ask(CHAT, body=body())).status == 200


@pytest.mark.parametrize(("left", "retries"), [(30, True), (3600, False)])
async def test_until_when(gateway: LocalGateway, left: float, retries: bool) -> None:
    ends = timezone.now() + timedelta(seconds=left)
    await set_to(is_on=True, until=ends)
    answer = await gateway.ask(CHAT, body=body())
    assert f"{ends:%Y-%m-%d %H:%M}" in answer.error["message"]
    assert left - 20 < int(answer.headers["retry-after"]) <= left
    assert ("x-should-retry" not in answer.headers) == retries


async def test_what_runs_goes_on_to_its_end(gateway: LocalGateway) -> None:
    async with (
        gateway.engine(begins_and_waits) as engine,
        gateway.exchange(CHAT, body=body(stream=True)) as exchange,
    ):
        await exchange.until(lambda: b"Hello" in exchange.body)
        await set_to(is_on=True)
        assert (await gateway.ask(CHAT, body=body())).status == 503
        assert not exchange.complete
        engine.cancelled[engine.requests[0].id].set()
        await exchange.finish()
    assert len(await gateway.ledger()) == 1


async def test_administrators_keys_work_if_they_may(gateway: LocalGateway) -> None:
    def promote() -> None:
        do_change_user(User.objects.get(username="gwen"), is_superuser=True, acting_user=None)

    await set_to(is_on=True)
    async with gateway.engine(answers):
        assert (await gateway.ask(CHAT, body=body())).status == 503
        await database_sync_to_async(promote)()
        runtime.current().keys.forget_all()
        assert (await gateway.ask(CHAT, body=body())).status == 200
        await set_to(is_on=True, lets_admins_in=False)
        assert (await gateway.ask(CHAT, body=body())).status == 503


async def test_health_says_so(gateway: LocalGateway) -> None:
    async with gateway.engine(answers):
        await set_to(is_on=True, message="New disks.")
        ready = await gateway.ask("/health/ready", method="GET")
        # Whoever balances loads by it goes on sending administrators here.
        assert (ready.status, ready.json) == (200, {"status": "maintenance", "model": "scripted"})
        assert (await gateway.ask("/health", method="GET")).status == 200
        report = (await gateway.ask("/health/diagnostics", method="GET")).json
        assert report["checks"]["maintenance"]["status"] == "warning"
        assert "New disks." in report["checks"]["maintenance"]["detail"]
        assert report["status"] != "healthy"
        await set_to(is_on=False)
        assert (await gateway.ask("/health/ready", method="GET")).json["status"] == "ready"


async def test_an_event_tells_gateways_at_once(gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    # So that it is no matter of age.
    monkeypatch.setattr(notices, "MAX_AGE_SECONDS", 3600)
    with Hub():
        async with gateway.engine(answers):
            assert (await gateway.ask(CHAT, body=body())).status == 200

            async def is_closed() -> bool:
                await database_sync_to_async(do_set_maintenance)(acting_user=None, is_on=False)
                await database_sync_to_async(do_set_maintenance)(acting_user=None, is_on=True)
                return (await gateway.ask(CHAT, body=body())).status == 503

            await until(is_closed)
