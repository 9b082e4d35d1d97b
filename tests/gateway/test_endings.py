"""How requests end, in front of an engine that does what it likes. Whatever happens: one row, settled once."""

import asyncio
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.conf import settings

from accounts import ledger
from accounts.models import ApiKey, UsageRecord
from gateway import recovery, runtime, sse
from inference.engine.protocol import Accepted, Delta, Failed, FirstToken, Tally
from inference.models import Model
from tests.gateway.local import LocalGateway, until
from tests.gateway.scripts import (
    CHAT,
    TALLY,
    answers,
    begins_and_waits,
    body,
    never_begins,
    never_hears,
    only,
    with_streams,
)


@with_streams
@pytest.mark.parametrize(
    ("code", "status", "type", "param"),
    [
        ("invalid_prompt", 400, "invalid_request_error", "messages"),
        ("context_length_exceeded", 400, "invalid_request_error", "messages"),
        ("server_is_overloaded", 503, "server_error", None),
        ("timeout", 504, "server_error", None),
        ("engine_error", 500, "server_error", None),
    ],
)
async def test_a_refusal_of_the_engine_is_an_http_error(
    gateway: LocalGateway, stream: bool, code: Any, status: int, type: str, param: str | None
) -> None:
    async def refuse(engine: Any, request: Any) -> Any:
        yield Failed(request.id, code, "Do otherwise.")

    async with gateway.engine(refuse):
        answer = await gateway.ask(CHAT, body=body(stream=stream))
        outcome = code if code in ("engine_error", "timeout") else "refused"
        await only(gateway, outcome=outcome, completion_tokens=0, ttft_ms=None)
    assert answer.status == status
    assert answer.error == {"message": "Do otherwise.", "type": type, "param": param, "code": code}
    assert ("retry-after" in answer.headers) == ("retry-after-ms" in answer.headers) == (status == 503)
    # The SDKs would run into the same limit twice more.
    assert answer.headers.get("x-should-retry") == ("false" if status == 504 else None)


@with_streams
@pytest.mark.parametrize(
    ("code", "status", "outcome"),
    [("engine_error", 500, "engine_error"), ("timeout", 504, "timeout"), ("server_is_overloaded", 503, "engine_error")],
)
async def test_a_failure_half_way_is_an_error_and_charged(
    gateway: LocalGateway, stream: bool, code: Any, status: int, outcome: str
) -> None:
    go_on = asyncio.Event()

    async def fail(engine: Any, request: Any) -> Any:
        yield Accepted(request.id, 7)
        yield [FirstToken(request.id, 1.0, 3.0), Delta(request.id, "Hello", 2)]
        await go_on.wait()
        yield Failed(request.id, code, "Broken.", tally=Tally(prompt_tokens=7, cached_tokens=4, completion_tokens=3))

    async with gateway.engine(fail), gateway.exchange(CHAT, body=body(stream=stream)) as exchange:
        if stream:
            await exchange.until(lambda: b"Hello" in exchange.body)
        go_on.set()
        await exchange.finish()
        await only(gateway, outcome=outcome, prompt_tokens=7, cached_tokens=4, completion_tokens=3)
    error = exchange.events[-1]["error"] if stream else exchange.error
    assert exchange.status == (200 if stream else status)
    assert error == {"message": "Broken.", "type": "server_error", "param": None, "code": code}
    assert b"[DONE]" not in exchange.body


@with_streams
async def test_a_failure_without_a_tally_is_charged_what_came(gateway: LocalGateway, stream: bool) -> None:
    async def fail(engine: Any, request: Any) -> Any:
        yield Accepted(request.id, 7)
        yield [FirstToken(request.id, 1.0, 3.0), Delta(request.id, "Hello", 2)]
        yield Failed(request.id, "engine_error", "Broken.")

    async with gateway.engine(fail):
        await gateway.ask(CHAT, body=body(stream=stream))
        await only(gateway, outcome="engine_error", prompt_tokens=7, completion_tokens=2)


@with_streams
async def test_an_engine_that_dies_is_an_error_and_what_came_is_charged(gateway: LocalGateway, stream: bool) -> None:
    async with gateway.engine(never_hears) as engine, gateway.exchange(CHAT, body=body(stream=stream)) as exchange:
        await exchange.until(lambda: b"Hello" in exchange.body) if stream else await until(lambda: engine.said == 3)
        engine.die()
        await exchange.finish()
    await only(gateway, outcome="engine_error", prompt_tokens=7, completion_tokens=2)
    error = exchange.events[-1]["error"] if stream else exchange.error
    assert exchange.status == (200 if stream else 500)
    assert (error["type"], error["code"]) == ("server_error", "engine_error")
    assert b"[DONE]" not in exchange.body


async def test_an_engine_that_dies_before_the_first_token_is_a_500_for_a_stream_too(gateway: LocalGateway) -> None:
    async with (
        gateway.engine(never_begins) as engine,
        gateway.exchange(CHAT, body=body(stream=True)) as exchange,
    ):
        await until(lambda: bool(engine.requests))
        engine.die()
        await exchange.finish()
    assert exchange.status == 500
    assert exchange.error["code"] == "engine_error"
    await only(gateway, outcome="engine_error", completion_tokens=0)


@with_streams
async def test_a_disconnect_stops_the_engine_and_charges_its_count(gateway: LocalGateway, stream: bool) -> None:
    async with gateway.engine(begins_and_waits) as engine:
        async with gateway.exchange(CHAT, body=body(stream=stream)) as exchange:
            if stream:
                await exchange.until(lambda: b"Hello" in exchange.body)
            else:
                await until(lambda: bool(engine.requests))
            exchange.disconnect()
            await exchange.finish()
        assert engine.cancelled[engine.requests[0].id].is_set()
    await only(gateway, outcome="disconnected", prompt_tokens=7, cached_tokens=4, completion_tokens=3)
    assert b"error" not in exchange.body


async def test_a_disconnect_before_a_deaf_engine_charges_what_came(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real limit, only shorter: nobody waits for the whole of it here.
    monkeypatch.setattr("gateway.generation.DRAIN_SECONDS", 0.1)
    async with gateway.engine(never_hears), gateway.exchange(CHAT, body=body(stream=True)) as exchange:
        await exchange.until(lambda: b"Hello" in exchange.body)
        exchange.disconnect()
        await exchange.finish()
        await only(gateway, outcome="disconnected", prompt_tokens=7, completion_tokens=2)


@with_streams
async def test_the_time_limit_ends_a_request_and_charges_it(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    async with gateway.engine(answers):
        await gateway.ask(CHAT, body=body())  # connected, so that the limit below is spent on generating
    async with gateway.engine(begins_and_waits, instance="instance-2"):
        await until(gateway.is_ready)
        # The real limit, only shorter: nobody waits for the whole of it here.
        monkeypatch.setattr(settings, "REQUEST_TIMEOUT_SECONDS", 0.5)
        answer = await gateway.ask(CHAT, body=body(stream=stream))
    row = (await gateway.ledger())[-1]
    assert (row["state"], row["outcome"], row["completion_tokens"]) == ("settled", "timeout", 3)
    error = answer.events[-1]["error"] if stream else answer.error
    assert answer.status == (200 if stream else 504)
    assert (error["type"], error["code"]) == ("server_error", "timeout")
    assert "ATELIER_TIMEOUT" in error["message"]


async def test_a_models_own_time_limit_takes_the_place_of_the_general_one(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database_sync_to_async(Model.objects.update)(engine_options={"timeout": 900})
    async with gateway.engine(answers):
        await until(gateway.is_ready)
        # Over before the request begins: it would not even be sent.
        monkeypatch.setattr(settings, "REQUEST_TIMEOUT_SECONDS", -1)
        assert (await gateway.ask(CHAT, body=body())).status == 200
    await only(gateway, outcome="stop")


async def test_an_engine_that_forgets_a_models_own_time_limit_is_not_waited_for(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database_sync_to_async(Model.objects.update)(engine_options={"timeout": 1})
    async with gateway.engine(begins_and_waits):
        await until(gateway.is_ready)
        # The real limit, only shorter: nobody waits for the whole of it here.
        monkeypatch.setattr(settings, "ENGINE_WAIT_SECONDS", -0.5)
        answer = await gateway.ask(CHAT, body=body())
    await only(gateway, outcome="timeout", completion_tokens=3)
    assert (answer.status, answer.error["code"]) == (504, "timeout")
    assert "--timeout" in answer.error["message"] and "ATELIER_TIMEOUT" not in answer.error["message"]


@with_streams
async def test_without_an_engine_a_request_is_told_to_come_back(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    # The real limit, only shorter: nobody waits for the whole of it here.
    monkeypatch.setattr(settings, "ENGINE_WAIT_SECONDS", 0.1)
    answer = await gateway.ask(CHAT, body=body(stream=stream))
    assert answer.status == 503
    assert (answer.error["type"], answer.error["code"]) == ("server_error", "model_loading")
    assert int(answer.headers["retry-after"]) > 0 and int(answer.headers["retry-after-ms"]) > 0
    await only(gateway, outcome="refused", prompt_tokens=0, completion_tokens=0)


async def test_after_a_heartbeat_an_early_failure_is_an_event(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real limit, only shorter: nobody waits for the whole of it here.
    monkeypatch.setattr(sse, "HOLD_SECONDS", 0.05)
    go_on = asyncio.Event()

    async def refuse(engine: Any, request: Any) -> Any:
        await go_on.wait()
        yield Failed(request.id, "server_is_overloaded", "Full.")

    async with gateway.engine(refuse), gateway.exchange(CHAT, body=body(stream=True)) as exchange:
        await exchange.until(lambda: bool(exchange.chunks))
        go_on.set()
        await exchange.finish()
    [event] = exchange.events
    assert event["error"]["code"] == "server_is_overloaded"


async def test_draining_cancels_at_its_end_and_settles(gateway: LocalGateway) -> None:
    hurry = asyncio.Event()
    async with gateway.engine(begins_and_waits), gateway.exchange(CHAT, body=body(stream=True)) as exchange:
        await exchange.until(lambda: b"Hello" in exchange.body)
        hurry.set()
        await runtime.current().requests.drain(1000, hurry)
        await exchange.finish()
        await only(gateway, outcome="cancelled", completion_tokens=3)
    assert exchange.events[-1]["error"]["code"] == "draining"
    assert (await gateway.ask("/health/ready", method="GET")).status == 503


async def test_a_failed_settle_leaves_the_row_for_the_next_life(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: Any, **values: Any) -> bool:
        # A database that fails at this very moment; no real one does so when asked.
        raise RuntimeError("a secret")

    # A database that fails at this one statement can't be had on demand.
    monkeypatch.setattr("accounts.ledger.settle", broken)
    async with gateway.engine(answers):
        answer = await gateway.ask(CHAT, body=body())
    assert answer.status == 200
    [row] = await gateway.ledger()
    assert row["state"] == "running"
    assert row["request_id"] in caplog.text and "a secret" not in caplog.text


async def test_a_former_lifes_rows_are_settled_or_marked(gateway: LocalGateway) -> None:
    async with gateway.engine(begins_and_waits) as engine:
        async with gateway.exchange(CHAT, body=body(stream=True)) as first:
            await first.until(lambda: b"Hello" in first.body)
        async with gateway.exchange(CHAT, body=body(stream=True)) as second:
            await second.until(lambda: b"Hello" in second.body)
        known, unknown = [row["request_id"] for row in await gateway.ledger()]

        await database_sync_to_async(UsageRecord.objects.update)(
            state="running", outcome="", ended_at=None, prompt_tokens=0, cached_tokens=0, completion_tokens=0
        )
        engine.remembered = {known: TALLY}
        left = await database_sync_to_async(ledger.running_of)(runtime.current().name)
        assert [record.request_id for record in left] == [known, unknown]
        await recovery.settle_former_life(runtime.current(), left)
    rows = {row["request_id"]: row for row in await gateway.ledger()}
    assert rows[known]["state"] == "settled" and rows[known]["completion_tokens"] == 3
    assert rows[unknown]["state"] == "interrupted"
    assert {row["outcome"] for row in rows.values()} == {"interrupted"}


async def test_a_deleted_key_that_is_still_remembered_opens_nothing(gateway: LocalGateway) -> None:
    async with gateway.engine(answers):
        assert (await gateway.ask("/v1/models", method="GET")).status == 200
        await database_sync_to_async(lambda: ApiKey.objects.all().delete())()
        answer = await gateway.ask(CHAT, body=body())
    assert answer.status == 401
    assert await gateway.ledger() == []
