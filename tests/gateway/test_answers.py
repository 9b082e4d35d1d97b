"""Answers in OpenAI's dialects, whole and streamed, from an engine that says what it is told to."""

import asyncio
import json
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.conf import settings
from django.db.backends.signals import connection_created
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from accounts.models import User
from accounts.services import do_add_member, do_create_team, do_issue_key
from gateway import runtime, sse
from gateway.generation import append
from inference.engine.protocol import Accepted, CallDelta, Delta, Ended, Finished, FirstToken
from inference.models import Deployment
from inference.services import do_record_engine
from tests.gateway.local import LocalGateway, until
from tests.gateway.scripts import CHAT, TALLY, answers, body, only, with_streams


def first_class_key() -> str:
    team = do_create_team("first", highest_class="interactive", acting_user=None)
    user = User.objects.get(username="gwen")
    do_add_member(team, user, acting_user=None)
    return do_issue_key(user, team=team, acting_user=None).raw


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


async def test_an_answer_tells_the_tier_that_it_was_given(gateway: LocalGateway) -> None:
    async def given(path: str, **fields: Any) -> Any:
        answer = await gateway.ask(path, body=body(**fields))
        return answer.json.get("service_tier", answer.json["usage"].get("service_tier"))

    async with gateway.engine(answers):
        assert await given(CHAT, service_tier="priority") == "default"
        assert await given(CHAT, service_tier="flex") == "flex"
        assert await given(CHAT) is None
        assert await given("/v1/messages", max_tokens=5) == "standard"
        gateway.key = await database_sync_to_async(first_class_key)()
        assert await given(CHAT, service_tier="priority") == "priority"
        assert await given(CHAT, service_tier="auto") == "default"
        assert await given("/v1/messages", max_tokens=5) == "standard"


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


async def test_no_chunk_has_more_than_one_tool_call(gateway: LocalGateway) -> None:
    """LlamaIndex, for one, looks at the first of the list only."""

    async def calls(engine: Any, request: Any) -> Any:
        yield [Accepted(request.id, 7), FirstToken(request.id, queue_ms=1.0, engine_ms=3.0)]
        pieces = [
            CallDelta(0, "call_a", "f", '{"x"'), CallDelta(0, None, None, ": 1}"),
            CallDelta(1, "call_b", "g", ""), CallDelta(1, None, None, "{}"),
        ]  # fmt: skip
        yield Delta(request.id, tokens=3, calls=pieces)
        yield [Ended(request.id, 0, "tool_calls"), Finished(request.id, "tool_calls", TALLY)]

    async with gateway.engine(calls):
        answer = await gateway.ask(CHAT, body=body(stream=True))
    chunks = [ChatCompletionChunk.model_validate(item, strict=True) for item in answer.events[:-1]]
    seen = [chunk.choices[0].delta.tool_calls for chunk in chunks if chunk.choices[0].delta.tool_calls]
    assert [len(each) for each in seen] == [1, 1]
    told = [(call.index, call.id, call.function) for [call] in seen]
    assert [(index, id, function.name, function.arguments) for index, id, function in told if function] == [
        (0, "call_a", "f", '{"x": 1}'),
        (1, "call_b", "g", "{}"),
    ]


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
    assert request.salt == f"user:{row['user_id']}", "its key is of no team"
    assert request.sampling.seed == 5 and request.max_tokens == 9
    assert request.default_max_tokens == settings.DEFAULT_MAX_TOKENS


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


async def test_models_say_how_they_batch(gateway: LocalGateway) -> None:
    async def said() -> Any:
        listed = (await gateway.ask("/v1/models", method="GET")).json["data"][0]
        assert listed == (await gateway.ask("/v1/models/default", method="GET")).json
        return listed["batching"], listed["batching_reason"]

    def saw(**observed: str) -> None:
        do_record_engine(Deployment.objects.get(), **observed)

    assert await said() == (None, None)
    for observed, shown in [
        ({"batching": "batched", "batching_reason": ""}, ("batched", None)),
        ({"batching": "single", "batching_reason": "--deterministic"}, ("single", "--deterministic")),
    ]:
        await database_sync_to_async(saw)(**observed)
        await runtime.current().close()  # it need not wait for what it remembers to age
        assert await said() == shown


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
            await runtime.current().close()  # the ledger's threads keep theirs until then
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


def test_deltas_of_a_step_are_joined_as_long_as_their_order_is_kept() -> None:
    events: list[Delta | Ended] = []
    for said in (
        {"reasoning": "h"}, {"reasoning": "m"}, {"text": "a"}, {"text": "b", "choice": 1}, {"text": "c"},
        {"calls": [CallDelta(0, "i", "f", "{")]}, {"calls": [CallDelta(0, None, None, "}")]},
        {"text": "after"}, {"reasoning": "again"},
    ):  # fmt: skip
        append(events, Delta("x", tokens=1, **said))  # type: ignore[arg-type]
    told = [(e.choice, e.reasoning, e.text, len(e.calls)) for e in events if isinstance(e, Delta)]
    assert told == [(0, "hm", "ac", 2), (1, "", "b", 0), (0, "", "after", 0), (0, "again", "", 0)]
