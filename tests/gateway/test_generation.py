"""The life of a request, in front of an engine that does what it likes. Whatever happens: one row, settled once."""

import asyncio
import json
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.conf import settings
from django.db.backends.signals import connection_created
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from accounts.models import ApiKey, UsageRecord
from gateway import recovery, runtime, sse
from inference.engine.protocol import Accepted, Delta, Failed, Finished, FirstToken, Tally
from tests.gateway.local import LocalGateway, until

CHAT = "/v1/chat/completions"
TALLY = Tally(
    prompt_tokens=7, cached_tokens=4, completion_tokens=3, queue_ms=1.0, prefill_ms=2.0, decode_ms=3.0,
    engine_seconds=0.5,
)  # fmt: skip

with_streams = pytest.mark.parametrize("stream", [False, True])


def body(*, stream: bool = False, **fields: Any) -> bytes:
    messages = [{"role": "user", "content": "hi"}]
    return json.dumps({"model": "scripted", "messages": messages, "stream": stream, **fields}).encode()


async def answers(engine: Any, request: Any) -> Any:
    yield Accepted(request.id, 7)
    yield FirstToken(request.id, queue_ms=1.0, engine_ms=3.0)
    yield Delta(request.id, "Hel", 1)
    yield [Delta(request.id, "lo", 1), Delta(request.id, " \n\n✓", 1), Finished(request.id, "stop", TALLY)]


async def begins_and_waits(engine: Any, request: Any) -> Any:
    """Generates two tokens, then nothing until it is cancelled; its tally counts one more."""
    yield Accepted(request.id, 7)
    yield [FirstToken(request.id, 1.0, 3.0), Delta(request.id, "Hello", 2)]
    await engine.cancelled[request.id].wait()
    yield Finished(request.id, "cancelled", TALLY)


async def never_hears(engine: Any, request: Any) -> Any:
    yield Accepted(request.id, 7)
    yield [FirstToken(request.id, 1.0, 3.0), Delta(request.id, "Hello", 2)]
    await asyncio.Event().wait()


async def only(record: Any, **expected: Any) -> dict[str, Any]:
    """The one row in the ledger, which is closed and as expected."""
    [row] = await record.ledger()
    assert row["state"] == "settled"
    assert {name: row[name] for name in expected} == expected
    assert row["ended_at"] is not None and row["duration_ms"] > 0
    return dict(row)


async def test_a_whole_answer_is_openais_object_and_settled_before_it_leaves(gateway: LocalGateway) -> None:
    async with gateway.engine(answers):
        answer = await gateway.ask(CHAT, body=body(service_tier="auto"))
        row = await only(
            gateway, outcome="stop", prompt_tokens=7, cached_tokens=4, completion_tokens=3, engine_seconds=0.5,
            model="scripted", endpoint="chat.completions", stream=False, username="gwen",
        )  # fmt: skip
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    completion = ChatCompletion.model_validate(answer.json, strict=True)
    assert completion.choices[0].message.content == "Hello \n\n✓"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.total_tokens == 10
    assert completion.usage.prompt_tokens_details is not None
    assert completion.usage.prompt_tokens_details.cached_tokens == 4
    assert completion.service_tier == "default"
    assert row["request_id"] == answer.headers["x-request-id"]
    assert row["ttft_ms"] > 0
    assert float(answer.headers["x-queue-ms"]) == 1.0
    assert float(answer.headers["x-overhead-ms"]) <= float(answer.headers["openai-processing-ms"]) + 1


async def test_a_stream_is_openais_chunks_one_body_chunk_per_step(gateway: LocalGateway) -> None:
    async with gateway.engine(answers):
        answer = await gateway.ask(CHAT, body=body(stream=True, stream_options={"include_usage": True}))
        await only(gateway, outcome="stop", prompt_tokens=7, completion_tokens=3, stream=True)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    *data, done = answer.events
    assert done == "[DONE]"
    chunks = [ChatCompletionChunk.model_validate(item, strict=True) for item in data]
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    *texts, end, usage = chunks
    assert texts[0].choices[0].delta.role == "assistant"
    assert all(chunk.choices[0].delta.role is None for chunk in texts[1:])
    assert "".join(chunk.choices[0].delta.content or "" for chunk in texts) == "Hello \n\n✓"
    assert [chunk.choices[0].finish_reason for chunk in [*texts, end]] == [None] * len(texts) + ["stop"]
    assert usage.choices == [] and usage.usage is not None and usage.usage.completion_tokens == 3
    assert all("usage" not in item for item in data[:-1])
    # The first token, the first text, the rest: whatever the engine sent together leaves together.
    assert len(answer.chunks) <= 3
    assert answer.chunks[-1].endswith(b"data: [DONE]\n\n") and b"lo" in answer.chunks[-1]


async def test_without_include_usage_no_chunk_has_any(gateway: LocalGateway) -> None:
    async with gateway.engine(answers):
        answer = await gateway.ask(CHAT, body=body(stream=True))
    assert b"usage" not in answer.body


@with_streams
async def test_plain_completions_are_openais_too(gateway: LocalGateway, stream: bool) -> None:
    request = json.dumps({"model": "alias", "prompt": "once", "stream": stream}).encode()
    async with gateway.engine(answers):
        answer = await gateway.ask("/v1/completions", body=request)
        await only(gateway, outcome="stop", endpoint="completions", model="scripted", completion_tokens=3)
    if stream:
        *data, done = answer.events
        assert done == "[DONE]"
        # OpenAI's own chunks have a null finish_reason too, which its type does not know: the SDK doesn't validate.
        chunks = [Completion.construct(**item) for item in data]
        assert [chunk.choices[0].finish_reason for chunk in chunks][-2:] == [None, "stop"]
        text = "".join(chunk.choices[0].text for chunk in chunks)
    else:
        completion = Completion.model_validate(answer.json, strict=True)
        assert completion.usage is not None and completion.usage.completion_tokens == 3
        text = completion.choices[0].text
    assert text == "Hello \n\n✓"


async def test_the_engine_gets_what_was_asked(gateway: LocalGateway) -> None:
    async with gateway.engine(answers) as engine:
        await gateway.ask(CHAT, body=body(seed=5, max_tokens=9, user="not me"))
    [request] = engine.requests
    [row] = await gateway.ledger()
    assert request.id == row["request_id"]
    assert request.user == str(row["user_id"])
    assert request.sampling.seed == 5 and request.max_tokens == 9
    assert request.default_max_tokens == settings.DEFAULT_MAX_TOKENS


@with_streams
@pytest.mark.parametrize(
    ("code", "status", "type", "param"),
    [
        ("invalid_prompt", 400, "invalid_request_error", "messages"),
        ("context_length_exceeded", 400, "invalid_request_error", "messages"),
        ("server_is_overloaded", 503, "server_error", None),
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
        outcome = "engine_error" if code == "engine_error" else "refused"
        await only(gateway, outcome=outcome, completion_tokens=0, ttft_ms=None)
    assert answer.status == status
    assert answer.error == {"message": "Do otherwise.", "type": type, "param": param, "code": code}
    assert ("retry-after" in answer.headers) == (status == 503)


@with_streams
async def test_a_failure_half_way_is_an_error_and_charged(gateway: LocalGateway, stream: bool) -> None:
    go_on = asyncio.Event()

    async def fail(engine: Any, request: Any) -> Any:
        yield Accepted(request.id, 7)
        yield [FirstToken(request.id, 1.0, 3.0), Delta(request.id, "Hello", 2)]
        await go_on.wait()
        yield Failed(request.id, "engine_error", "Broken.")

    async with gateway.engine(fail), gateway.exchange(CHAT, body=body(stream=stream)) as exchange:
        if stream:
            await exchange.until(lambda: b"Hello" in exchange.body)
        go_on.set()
        await exchange.finish()
        await only(gateway, outcome="engine_error", prompt_tokens=7, completion_tokens=2)
    error = exchange.events[-1]["error"] if stream else exchange.error
    assert exchange.status == (200 if stream else 500)
    assert error["code"] == "engine_error"
    assert b"[DONE]" not in exchange.body


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
    async def prefill_for_ever(engine: Any, request: Any) -> Any:
        yield Accepted(request.id, 7)
        await asyncio.Event().wait()

    async with (
        gateway.engine(prefill_for_ever) as engine,
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
        monkeypatch.setattr(settings, "REQUEST_TIMEOUT_SECONDS", 0.5)
        answer = await gateway.ask(CHAT, body=body(stream=stream))
    row = (await gateway.ledger())[-1]
    assert (row["state"], row["outcome"], row["completion_tokens"]) == ("settled", "timeout", 3)
    error = answer.events[-1]["error"] if stream else answer.error
    assert answer.status == (200 if stream else 504)
    assert (error["type"], error["code"]) == ("server_error", "timeout")
    assert "ATELIER_TIMEOUT" in error["message"]


@with_streams
async def test_without_an_engine_a_request_is_told_to_come_back(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    monkeypatch.setattr(settings, "ENGINE_WAIT_SECONDS", 0.1)
    answer = await gateway.ask(CHAT, body=body(stream=stream))
    assert answer.status == 503
    assert (answer.error["type"], answer.error["code"]) == ("server_error", "model_loading")
    assert int(answer.headers["retry-after"]) > 0 and int(answer.headers["retry-after-ms"]) > 0
    await only(gateway, outcome="refused", prompt_tokens=0, completion_tokens=0)


async def test_a_request_waits_for_an_engine_that_starts(gateway: LocalGateway) -> None:
    async with gateway.exchange(CHAT, body=body()) as exchange:
        await until(gateway.ledger)
        async with gateway.engine(answers):
            await exchange.finish()
    assert exchange.status == 200


async def test_a_slow_prefill_keeps_the_line_alive(gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    # Ten seconds of silence are the contract; the test does not wait that long.
    monkeypatch.setattr(sse, "HOLD_SECONDS", 0.05)
    go_on = asyncio.Event()

    async def slow(engine: Any, request: Any) -> Any:
        yield Accepted(request.id, 7)
        await go_on.wait()
        async for event in answers(engine, request):
            yield event

    async with gateway.engine(slow), gateway.exchange(CHAT, body=body(stream=True)) as exchange:
        await exchange.until(lambda: len(exchange.chunks) >= 3)
        assert exchange.status == 200
        assert all(chunk.startswith(b": ") and chunk.endswith(b"\n\n") for chunk in exchange.chunks)
        go_on.set()
        await exchange.finish()
    assert exchange.events[-1] == "[DONE]"
    assert exchange.events[0]["choices"][0]["delta"]["role"] == "assistant"


async def test_after_a_heartbeat_an_early_failure_is_an_event(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        left = [recovery.RunningRecord(known, "scripted"), recovery.RunningRecord(unknown, "scripted")]
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


@pytest.mark.parametrize("name", ["scripted", "alias", "default", "team/scripted"])
async def test_models_are_found_by_all_their_names(gateway: LocalGateway, name: str) -> None:
    answer = await gateway.ask(f"/v1/models/{name}", method="GET")
    assert answer.status == 200
    assert answer.json["id"] == "scripted"
    async with gateway.engine(answers):
        assert (await gateway.ask(CHAT, body=body(model=name))).json["model"] == "scripted"


async def test_no_request_keeps_a_database_connection(gateway: LocalGateway) -> None:
    """PostgreSQL's come from a pool of eight: one that a request's thread takes with it is lost for ever."""
    opened: list[Any] = []

    def note(connection: Any, **_: Any) -> None:
        opened.append(connection)

    connection_created.connect(note)
    try:
        async with gateway.engine(answers):
            for path, method in [("/v1/models", "GET"), ("/health/ready", "GET"), (CHAT, "POST")]:
                await runtime.current().close()  # what it remembered would spare it the query
                assert (await gateway.ask(path, method=method, body=body())).status == 200
    finally:
        connection_created.disconnect(note)
    assert opened
    assert [connection for connection in opened if connection.connection is not None] == []


async def test_two_hundred_requests_at_once_all_settle(gateway: LocalGateway) -> None:
    async with gateway.engine(answers):
        asked = [gateway.ask(CHAT, body=body(stream=bool(at % 2))) for at in range(200)]
        statuses = {answer.status for answer in await asyncio.gather(*asked)}
    rows = await gateway.ledger()
    assert statuses == {200}
    assert len(rows) == 200
    assert {(row["state"], row["outcome"], row["completion_tokens"]) for row in rows} == {("settled", "stop", 3)}
