"""`/v1/responses` in front of an engine that does what it is told to: what the model gets to see of what is stored, for
how long that lives, and what becomes of it when something fails."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.utils import timezone

from accounts.models import StoredResponse, User
from accounts.services import do_add_member, do_create_team, do_delete_user, do_issue_key
from accounts.tasks import delete_expired_responses
from gateway import sse
from inference.engine.protocol import Accepted, CallDelta, Delta, Ended, Failed, Finished, FirstToken
from tests.gateway.local import LocalGateway
from tests.gateway.scripts import TALLY, answers, begins_and_waits, only, with_streams

RESPONSES = "/v1/responses"


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "scripted", "input": "hi", **fields}).encode()


def events_of(answer: Any) -> list[Any]:
    blocks = [block for block in answer.body.decode().removesuffix("\n\n").split("\n\n") if block[0] != ":"]
    return [json.loads(block.partition("\ndata: ")[2]) for block in blocks]


def final_of(answer: Any, stream: bool) -> Any:
    return events_of(answer)[-1]["response"] if stream else answer.json


async def thinks_and_calls(engine: Any, request: Any) -> Any:
    yield Accepted(request.id, 7)
    yield [FirstToken(request.id, 1.0, 3.0), Delta(request.id, "", 1, reasoning="Hm")]
    yield Delta(request.id, "I look.", 1, reasoning=" yes")
    yield Delta(request.id, "", 1, calls=[CallDelta(0, "call_1", "f", '{"a"'), CallDelta(0, None, None, ": 1}")])
    yield Delta(request.id, "", 1, calls=[CallDelta(1, "call_2", "g", "{}")])
    yield [Ended(request.id, 0, "tool_calls"), Finished(request.id, "tool_calls", TALLY)]


TOOLS = [{"type": "function", "name": "f"}, {"type": "function", "name": "g"}]
OUTPUTS = [
    {"type": "function_call_output", "call_id": "call_1", "output": "one"},
    {"type": "function_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "two"}]},
]


@with_streams
async def test_the_model_sees_what_was_said_as_one_turn(gateway: LocalGateway, stream: bool) -> None:
    given = [{"role": "developer", "content": "Speak."}, {"role": "user", "content": "hi"}]
    async with gateway.engine(thinks_and_calls) as engine:
        answer = await gateway.ask(
            RESPONSES, body=body(input=given, instructions="Be kind.", tools=TOOLS, stream=stream)
        )
        await only(gateway, outcome="stop", endpoint="responses", stream=stream)
        first = final_of(answer, stream)
        assert [item["type"] for item in first["output"]] == ["reasoning", "message", "function_call", "function_call"]
        again = await gateway.ask(RESPONSES, body=body(input=OUTPUTS, previous_response_id=first["id"], tools=TOOLS))
        assert again.status == 200
        sent = {"input": [*given, *first["output"], *OUTPUTS], "tools": TOOLS, "store": False}
        await gateway.ask(RESPONSES, body=body(**sent))
    begun, continued, whole = [request.messages for request in engine.requests]
    assert begun == [{"role": "system", "content": "Be kind.\n\nSpeak."}, {"role": "user", "content": "hi"}]
    assert continued == whole
    # Instructions are for one response alone.
    assert continued == [
        {"role": "system", "content": "Speak."},
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "reasoning_content": "Hm yes",
            "content": "I look.",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}},
                {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": {}}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "name": "f", "content": "one"},
        {"role": "tool", "tool_call_id": "call_2", "name": "g", "content": "two"},
    ]


async def test_the_engine_gets_what_was_asked(gateway: LocalGateway) -> None:
    fields = {
        "max_output_tokens": 9, "temperature": 0.5, "seed": 5, "top_k": 3, "reasoning": {"effort": "low"},
        "tools": [{**TOOLS[0], "description": "d", "parameters": {"type": "object"}, "strict": True}],
        "tool_choice": {"type": "function", "name": "f"}, "parallel_tool_calls": False, "service_tier": "flex",
        "text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}, "strict": True}},
        "include": ["message.output_text.logprobs"], "top_logprobs": 4, "max_thinking_tokens": 7,
    }  # fmt: skip
    async with gateway.engine(answers) as engine:
        answer = (await gateway.ask(RESPONSES, body=body(**fields))).json
    [sent] = engine.requests
    assert (sent.max_tokens, sent.sampling.temperature, sent.sampling.seed, sent.sampling.top_k) == (9, 0.5, 5, 3)
    assert sent.template == {"enable_thinking": True, "reasoning_effort": "low"}
    assert sent.sampling.logprobs == 4 and sent.max_thinking_tokens == 7 and sent.priority == "batch"
    assert (sent.tool_choice, sent.tool_name, sent.parallel_tool_calls) == ("required", "f", False)
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
    assert sent.tools == [{"type": "function", "function": function}]
    assert sent.format is not None and (sent.format.kind, sent.format.text) == ("json_schema", '{"type":"object"}')
    # And the answer says it as it was asked.
    for name in ("max_output_tokens", "temperature", "tools", "tool_choice", "parallel_tool_calls", "text"):
        assert answer[name] == fields[name]
    assert answer["service_tier"] == "flex" and answer["reasoning"] == {"effort": "low", "summary": None}


async def test_text_after_a_call_is_an_item_of_its_own(gateway: LocalGateway) -> None:
    go_on = [asyncio.Event(), asyncio.Event()]

    async def resumes(engine: Any, request: Any) -> Any:
        # Each in a message of its own: what comes together is told together.
        yield Accepted(request.id, 7)
        yield [FirstToken(request.id, 1.0, 3.0), Delta(request.id, "a", 1)]
        await go_on[0].wait()
        yield Delta(request.id, "", 1, calls=[CallDelta(0, "call_1", "f", "{}")])
        await go_on[1].wait()
        yield Delta(request.id, "b", 1)
        yield [Ended(request.id, 0, "length"), Finished(request.id, "length", TALLY)]

    sent = body(stream=True, tools=TOOLS)
    async with gateway.engine(resumes), gateway.exchange(RESPONSES, body=sent) as exchange:
        for at, event in enumerate(go_on):
            await exchange.until(lambda chunks=at + 1: len(exchange.chunks) >= chunks)
            event.set()
        final = final_of(await exchange.finish(), True)
    assert [(item["type"], item["status"]) for item in final["output"]] == [
        ("message", "completed"), ("function_call", "completed"), ("message", "incomplete"),
    ]  # fmt: skip
    assert final["status"] == "incomplete"


@with_streams
async def test_an_answer_without_words_is_an_empty_message(gateway: LocalGateway, stream: bool) -> None:
    async def silent(engine: Any, request: Any) -> Any:
        yield Accepted(request.id, 7)
        yield FirstToken(request.id, 1.0, 3.0)
        yield [Ended(request.id, 0, "stop"), Finished(request.id, "stop", TALLY)]

    async with gateway.engine(silent):
        final = final_of(await gateway.ask(RESPONSES, body=body(stream=stream)), stream)
    [message] = final["output"]
    assert message["content"] == [{"type": "output_text", "text": "", "annotations": [], "logprobs": []}]


# --- whose it is, and for how long -----------------------------------------------------------------------------------


async def test_it_expires(gateway: LocalGateway, settings: Any) -> None:
    settings.RESPONSES_TTL_DAYS = 3
    async with gateway.engine(answers):
        ids = [(await gateway.ask(RESPONSES, body=body())).json["id"] for _ in range(2)]

        def age() -> timedelta:
            old = StoredResponse.objects.get(response_id=ids[0])
            StoredResponse.objects.filter(pk=old.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
            return old.expires_at - old.created_at

        assert await database_sync_to_async(age)() == timedelta(days=3)
        for path in (ids[0], f"{ids[0]}/input_items"):
            assert (await gateway.ask(f"{RESPONSES}/{path}", method="GET")).status == 404
        refused = await gateway.ask(RESPONSES, body=body(previous_response_id=ids[0]))
        assert (refused.status, refused.error["code"]) == (400, "previous_response_not_found")
    assert await database_sync_to_async(delete_expired_responses)() == 1
    assert await stored() == [ids[1]], "the other one lives"
    assert (await gateway.ask(f"{RESPONSES}/{ids[1]}", method="GET")).status == 200


async def stored() -> list[str]:
    return await database_sync_to_async(lambda: list(StoredResponse.objects.values_list("response_id", flat=True)))()


async def test_a_key_for_another_team_is_another_owner(gateway: LocalGateway) -> None:
    def issue() -> list[str]:
        user, team = User.objects.get(username="gwen"), do_create_team("research", acting_user=None)
        do_add_member(team, user, acting_user=None)
        return [do_issue_key(user, note="", team=team, acting_user=None).raw for _ in range(2)]

    first, second = await database_sync_to_async(issue)()
    async with gateway.engine(answers):
        answer = await gateway.ask(RESPONSES, body=body(), headers={"authorization": f"Bearer {first}"})
    path = f"{RESPONSES}/{answer.json['id']}"
    assert (await gateway.ask(path, method="GET")).status == 404
    assert (await gateway.ask(path, method="DELETE")).status == 404
    with_second = {"authorization": f"Bearer {second}"}
    assert (await gateway.ask(path, method="GET", headers=with_second)).json == answer.json
    assert (await gateway.ask(path, method="DELETE", headers=with_second)).status == 200


async def test_a_null_character_is_stored_like_any_other(gateway: LocalGateway) -> None:
    async with gateway.engine(answers) as engine:
        first = (await gateway.ask(RESPONSES, body=body(input="a\0b"))).json
        await gateway.ask(RESPONSES, body=body(previous_response_id=first["id"]))
    assert engine.requests[1].messages[0] == {"role": "user", "content": "a\0b"}


async def test_ids_of_the_clients_own_request_ids_can_be_continued(gateway: LocalGateway) -> None:
    """The longest id that a client may choose, with marks that ours have as well."""
    headers = {"x-request-id": ("a_1.b-" * 8)[:48]}
    async with gateway.engine(answers) as engine:
        first = (await gateway.ask(RESPONSES, body=body(), headers=headers)).json
        refer = [{"type": "item_reference", "id": first["output"][0]["id"]}]
        answer = await gateway.ask(RESPONSES, body=body(input=refer, previous_response_id=first["id"]))
        assert answer.status == 200
    assert [message["role"] for message in engine.requests[1].messages] == ["user", "assistant", "assistant"]


# --- when something fails --------------------------------------------------------------------------------------------


async def test_a_stream_that_breaks_ends_with_a_failed_response(gateway: LocalGateway) -> None:
    go_on = asyncio.Event()

    async def breaks(engine: Any, request: Any) -> Any:
        yield Accepted(request.id, 7)
        yield [FirstToken(request.id, 1.0, 3.0), Delta(request.id, "Hello", 3)]
        await go_on.wait()
        yield Failed(request.id, "engine_error", "Broken.", tally=TALLY)

    async with gateway.engine(breaks), gateway.exchange(RESPONSES, body=body(stream=True)) as answer:
        await answer.until(lambda: b"Hello" in answer.body)
        go_on.set()
        await answer.finish()
        await only(gateway, outcome="engine_error")
    events = events_of(answer)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["type"] == "response.failed" and b"[DONE]" not in answer.body
    failed = events[-1]["response"]
    assert failed["status"] == "failed" and failed["error"] == {"code": "server_error", "message": "Broken."}
    [message] = failed["output"]
    assert (message["status"], message["content"][0]["text"]) == ("incomplete", "Hello")
    assert await stored() == []


async def test_a_response_that_its_owner_stops_has_failed(gateway: LocalGateway) -> None:
    async with (
        gateway.engine(begins_and_waits),
        gateway.exchange(RESPONSES, body=body(stream=True)) as answer,
    ):
        await answer.until(lambda: b"Hello" in answer.body)
        id = events_of(answer)[0]["response"]["id"]
        assert (await gateway.ask(f"/v1/requests/{id}", method="DELETE")).status == 200
        await answer.finish()
    failed = events_of(answer)[-1]["response"]
    assert failed["error"]["code"] == "server_error" and "cancelled" in failed["error"]["message"]
    assert (await gateway.ask(f"{RESPONSES}/{id}", method="GET")).status == 404


async def test_a_failure_before_the_first_event_has_the_events_before_it(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "HOLD_SECONDS", 0.05)
    go_on = asyncio.Event()

    async def fails(engine: Any, request: Any) -> Any:
        yield Accepted(request.id, 7)
        await go_on.wait()
        yield Failed(request.id, "invalid_prompt", "messages: no.", "messages")

    async with gateway.engine(fails), gateway.exchange(RESPONSES, body=body(stream=True)) as exchange:
        await exchange.until(lambda: len(exchange.chunks) >= 1)
        go_on.set()
        await exchange.finish()
    assert [event["type"] for event in events_of(exchange)] == [
        "response.created", "response.in_progress", "response.failed",
    ]  # fmt: skip
    assert events_of(exchange)[-1]["response"]["error"] == {"code": "invalid_prompt", "message": "input: no."}


@with_streams
@pytest.mark.parametrize(
    ("param", "message", "ours", "said"),
    [
        ("messages", "messages: the prompt is empty.", "input", "input: the prompt is empty."),
        ("response_format", "response_format: no.", "text.format", "text.format: no."),
        ("tools", "tools: no.", "tools", "tools: no."),
        (None, "Lower max_tokens.", "input", "Lower max_output_tokens."),
    ],
)
async def test_complaints_of_the_engine_name_our_fields(
    gateway: LocalGateway, stream: bool, param: str | None, message: str, ours: str, said: str
) -> None:
    async def refuse(engine: Any, request: Any) -> Any:
        yield Failed(request.id, "invalid_prompt", message, param)

    async with gateway.engine(refuse):
        answer = await gateway.ask(RESPONSES, body=body(stream=stream))
    assert (answer.status, answer.error["param"], answer.error["message"]) == (400, ours, said)


@with_streams
async def test_an_answer_that_cannot_be_stored_is_given_all_the_same(
    gateway: LocalGateway, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def delete_user() -> None:
        do_delete_user(User.objects.get(), acting_user=None)

    async def orphaned(engine: Any, request: Any) -> Any:
        await database_sync_to_async(delete_user)()
        async for event in answers(engine, request):
            yield event

    async with gateway.engine(orphaned):
        answer = await gateway.ask(RESPONSES, body=body(stream=stream))
    assert final_of(answer, stream)["status"] == "completed"
    assert "could not be stored: IntegrityError" in caplog.text
    assert await stored() == []


PICTURE = "data:image/png;base64," + "QUJD" * 300
SHOWN = [{"role": "user", "content": [{"type": "input_image", "image_url": PICTURE}]}]


async def test_pictures_are_kept_and_shown_again(gateway: LocalGateway) -> None:
    async with gateway.engine(answers) as engine:
        first = await gateway.ask(RESPONSES, body=body(input=SHOWN))
        second = await gateway.ask(RESPONSES, body=body(previous_response_id=first.json["id"]))
    assert second.status == 200
    [one, two] = engine.requests
    assert one.held and two.held
    assert [media.where for media in two.media] == ["previous_response_id.items[0].content[0].image_url"]
    assert [media.data for media in two.media] == [media.data for media in one.media]


async def test_as_much_is_kept_of_a_conversation_as_a_request_may_bring(gateway: LocalGateway, settings: Any) -> None:
    settings.MAX_BODY_BYTES = 2000
    async with gateway.engine(answers) as engine:
        first = await gateway.ask(RESPONSES, body=body(input=SHOWN))
        more = {"input": SHOWN, "previous_response_id": first.json["id"]}
        answer = await gateway.ask(RESPONSES, body=body(**more))
        assert (answer.status, answer.error["param"], answer.error["code"]) == (400, "store", "media_too_large")
        assert len(engine.requests) == 1
        assert (await gateway.ask(RESPONSES, body=body(**more, store=False))).status == 200
