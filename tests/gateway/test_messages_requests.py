"""What Anthropic's Messages make of a body: what is refused and how, what is ignored and named, and what the engine is
asked. In front of a scripted engine; answers of a real one are in test_messages_api.py."""

import asyncio
import json
from typing import Any

import pytest

from gateway.anthropic.errors import body as error_body
from gateway.errors import ApiError
from inference.engine.protocol import Accepted, CallDelta, Delta, Ended, Failed, Finished, FirstToken
from tests.gateway.asgi_driver import Exchange
from tests.gateway.local import LocalGateway, until
from tests.gateway.scripts import TALLY, answers, never_hears, only, with_streams

MESSAGES = "/v1/messages"
COUNT = "/v1/messages/count_tokens"
USER: dict[str, Any] = {"role": "user", "content": "hi"}
USE = {"type": "tool_use", "id": "call_1", "name": "look", "input": {"where": "here"}}
RESULT = {"type": "tool_result", "tool_use_id": "call_1", "content": "nothing"}
TOOL = {"name": "look", "input_schema": {"type": "object"}}


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "scripted", "max_tokens": 50, "messages": [USER], **fields}).encode()


def said(role: str, *blocks: Any) -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def error_of(exchange: Exchange) -> dict[str, str]:
    """Of an answer that has Anthropic's shape."""
    return shaped(exchange.json, exchange)


def shaped(answer: Any, exchange: Exchange) -> dict[str, str]:
    assert set(answer) == {"type", "error", "request_id"} and answer["type"] == "error"
    assert answer["request_id"] == exchange.headers["request-id"] == exchange.headers["x-request-id"]
    assert set(answer["error"]) == {"type", "message"}
    return dict(answer["error"])


def events_of(exchange: Exchange) -> list[tuple[str, Any]]:
    blocks = [block.split("\n") for block in exchange.body.decode().removesuffix("\n\n").split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


# --- refused ---------------------------------------------------------------------------------------------------------

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"model": 5}, "model"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "tool", "content": "hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": ""}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
    ({"messages": [{"role": "assistant", "content": ""}]}, "messages"),
    ({"messages": [{"role": "system", "content": "hi"}]}, "messages"),
    ({"messages": [said("user", {"type": "text"})]}, "messages[0].content[0].text"),
    ({"messages": [said("user", text("a"), {"type": "image"})]}, "messages[0].content[1].source"),
    ({"messages": [said("user", text("a"), {"type": "image", "source": {}})]}, "messages[0].content[1].source.type"),
    ({"messages": [said("user", {"type": "image", "source": {"type": "file", "file_id": "f"}})]},
     "messages[0].content[0].source.type"),
    ({"messages": [said("user", {"type": "image", "source": {"type": "base64", "data": "QUJD"}})]},
     "messages[0].content[0].source.media_type"),
    ({"messages": [said("user", {"type": "image", "source": {"type": "url"}})]}, "messages[0].content[0].source.url"),
    ({"messages": [USER, said("assistant", {"type": "image", "source": {"type": "url"}})]},
     "messages[1].content[0].type"),
    ({"messages": [said("user", {"type": "document", "source": {"type": "text"}})]}, "messages[0].content[0]"),
    ({"messages": [said("user", {"type": "search_result", "content": []})]}, "messages[0].content[0]"),
    ({"messages": [said("user", USE)]}, "messages[0].content[0].type"),
    ({"messages": [said("user", RESULT)]}, "messages[0].content[0].tool_use_id"),
    ({"messages": [USER, said("assistant", RESULT)]}, "messages[1].content[0].type"),
    ({"messages": [USER, said("assistant", {**USE, "input": None}), USER]}, "messages[1].content[0].input"),
    ({"messages": [USER, said("assistant", {"type": "thinking"}), USER]}, "messages[1].content[0].thinking"),
    (
        {"messages": [USER, said("assistant", USE), said("user", {**RESULT, "content": [{"type": "image"}]})]},
        "messages[2].content[0].content[0].source",
    ),
    ({"messages": [USER, said("assistant", USE)]}, "messages[1].content[0]"),
    ({"messages": [USER, {"role": "assistant", "content": "So "}]}, "messages[1].content"),
    ({"messages": [USER, {"role": "assistant", "content": "So"}], "thinking": {"type": "adaptive"}}, "thinking"),
    ({"messages": [USER, {"role": "assistant", "content": "So"}], "tools": [TOOL], "tool_choice": {"type": "any"}},
     "tool_choice"),
    ({"messages": [USER, {"role": "assistant", "content": "So"}],
      "output_config": {"format": {"type": "json_schema", "schema": {}}}}, "output_config.format"),
    ({"system": [{"type": "image"}]}, "system[0].type"),
    ({"temperature": 1.5}, "temperature"),
    ({"top_p": 2}, "top_p"),
    ({"top_k": -1}, "top_k"),
    ({"stop_sequences": ["a", ""]}, "stop_sequences[1]"),
    ({"stop_sequences": ["a"] * 17}, "stop_sequences"),
    ({"stream": "yes"}, "stream"),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
    ({"tools": [TOOL, {"type": "bash_20250124", "name": "bash"}]}, "tools[1].type"),
    ({"tools": [{"type": "computer_toolset_20260801"}]}, "tools[0].type"),
    ({"tools": [{"name": "look"}]}, "tools[0].input_schema"),
    ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
    ({"tools": [{**TOOL, "name": "a b"}]}, "tools[0].name"),
    ({"tools": [TOOL, TOOL]}, "tools"),
    ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "tool"}}, "tool_choice.name"),
    ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "hear"}}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "some"}}, "tool_choice.type"),
    ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
    ({"thinking": {"type": "enabled", "budget_tokens": 50}}, "thinking.budget_tokens"),
    ({"thinking": {"type": "adaptive", "budget_tokens": 5}}, "thinking.budget_tokens"),
    ({"thinking": {"type": "between_tools"}}, "thinking.type"),
    ({"metadata": {"user_id": 5}}, "metadata.user_id"),
    ({"service_tier": "priority"}, "service_tier"),
    ({"container": "c"}, "container"),
    ({"mcp_servers": [{"type": "url"}]}, "mcp_servers"),
    ({"context_management": {"edits": []}}, "context_management"),
    ({"speed": "fast"}, "speed"),
    ({"output_config": {"effort": "huge"}}, "output_config.effort"),
    ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
    ({"output_format": {"type": "json_schema", "schema": {}},
      "output_config": {"format": {"type": "json_schema", "schema": {}}}}, "output_format"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "named"), REFUSED, ids=[f"{at}-{named}" for at, (_, named) in enumerate(REFUSED)])
async def test_what_is_wrong_is_named(gateway: LocalGateway, fields: dict[str, Any], named: str) -> None:
    answer = await gateway.ask(MESSAGES, body=body(**fields))
    error = error_of(answer)
    assert (answer.status, error["type"]) == (400, "invalid_request_error")
    assert f"`{named}`" in error["message"]


@pytest.mark.parametrize("path", [MESSAGES, COUNT])
@pytest.mark.parametrize(
    ("options", "status", "type"),
    [
        ({"body": b"{"}, 400, "invalid_request_error"),
        ({"body": b"{}"}, 400, "invalid_request_error"),
        ({"body": body(model="none")}, 404, "not_found_error"),
        ({"body": body(), "headers": {"authorization": "Bearer no"}}, 401, "authentication_error"),
        ({"body": body(), "headers": {"host": "elsewhere"}}, 400, "invalid_request_error"),
        ({"body": body(), "headers": {"content-length": "1" + "0" * 12}}, 413, "request_too_large"),
        ({"method": "GET"}, 405, "invalid_request_error"),
    ],
)
async def test_errors_have_anthropics_shape(
    gateway: LocalGateway, path: str, options: dict[str, Any], status: int, type: str
) -> None:
    answer = await gateway.ask(path, **options)
    assert (answer.status, error_of(answer)["type"]) == (status, type)


async def test_paths_below_have_that_shape_too(gateway: LocalGateway) -> None:
    assert error_of(await gateway.ask("/v1/messages/batches", body=b"{}"))["type"] == "not_found_error"


async def test_both_ways_to_send_a_key_work(gateway: LocalGateway) -> None:
    async with gateway.engine(answers):
        for headers in ({"x-api-key": gateway.key, "authorization": ""}, {"authorization": f"Bearer {gateway.key}"}):
            answer = await gateway.ask(MESSAGES, body=body(), headers={**headers, "anthropic-version": "2023-06-01"})
            assert answer.status == 200


@pytest.mark.parametrize(
    ("status", "type"),
    [(403, "permission_error"), (429, "rate_limit_error"), (500, "api_error"), (499, "invalid_request_error")],
)
def test_statuses_that_are_rare_have_their_types(status: int, type: str) -> None:
    assert json.loads(error_body(ApiError(status, "No."), "req_1")) == {
        "type": "error", "error": {"type": type, "message": "No."}, "request_id": "req_1",
    }  # fmt: skip


# --- the engine's side -----------------------------------------------------------------------------------------------

FAILURES = [
    ("invalid_prompt", 400, "invalid_request_error"),
    ("context_length_exceeded", 400, "invalid_request_error"),
    ("server_is_overloaded", 503, "overloaded_error"),
    ("timeout", 504, "timeout_error"),
    ("engine_error", 500, "api_error"),
]


@with_streams
@pytest.mark.parametrize(("code", "status", "type"), FAILURES)
async def test_a_refusal_of_the_engine(gateway: LocalGateway, stream: bool, code: Any, status: int, type: str) -> None:
    async def refuse(engine: Any, request: Any) -> Any:
        yield Failed(request.id, code, "Do otherwise.")

    async with gateway.engine(refuse):
        answer = await gateway.ask(MESSAGES, body=body(stream=stream))
    assert answer.status == status
    assert error_of(answer) == {"type": type, "message": "Do otherwise."}
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_a_form_that_cannot_be_compiled_is_called_by_its_name_here(gateway: LocalGateway) -> None:
    async def refuse(engine: Any, request: Any) -> Any:
        message = "response_format: the grammar can't be used: no."
        yield Failed(request.id, "invalid_format", message, "response_format")

    form = {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    async with gateway.engine(refuse):
        answer = await gateway.ask(MESSAGES, body=body(output_config=form))
    assert error_of(answer)["message"] == "output_config.format: the grammar can't be used: no."


async def test_what_breaks_in_a_stream_is_an_error_event(gateway: LocalGateway) -> None:
    go_on = asyncio.Event()

    async def fail(engine: Any, request: Any) -> Any:
        yield Accepted(request.id, 7)
        yield [FirstToken(request.id, 1.0, 3.0, cached_tokens=4), Delta(request.id, "Hello", 2)]
        await go_on.wait()
        yield Failed(request.id, "engine_error", "Broken.", tally=TALLY)

    async with gateway.engine(fail), gateway.exchange(MESSAGES, body=body(stream=True)) as exchange:
        await exchange.until(lambda: b"Hello" in exchange.body)
        go_on.set()
        await exchange.finish()
        await only(gateway, outcome="engine_error", completion_tokens=3)
    events = events_of(exchange)
    assert [name for name, _ in events] == [
        "message_start", "content_block_start", "content_block_delta", "error",
    ]  # fmt: skip
    usage = events[0][1]["message"]["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (3, 4)
    assert shaped(events[-1][1], exchange) == {"type": "api_error", "message": "Broken."}


async def test_without_an_engine_it_is_overloaded(gateway: LocalGateway, settings: Any) -> None:
    settings.ENGINE_WAIT_SECONDS = 0.1
    for path in (MESSAGES, COUNT):
        answer = await gateway.ask(path, body=body())
        assert (answer.status, error_of(answer)["type"]) == (503, "overloaded_error")
        assert answer.headers["retry-after"]


async def test_a_count_whose_engine_dies_ends(gateway: LocalGateway) -> None:
    async with gateway.engine(never_hears) as engine, gateway.exchange(COUNT, body=body()) as exchange:
        await until(lambda: engine.requests)
        engine.die()
        await exchange.finish()
    assert (exchange.status, error_of(exchange)["type"]) == (500, "api_error")


async def test_a_count_that_is_not_answered_ends_in_time(gateway: LocalGateway, settings: Any) -> None:
    settings.REQUEST_TIMEOUT_SECONDS = 1
    async with gateway.engine(never_hears):
        await until(gateway.is_ready)
        answer = await gateway.ask(COUNT, body=body())
    assert (answer.status, error_of(answer)["type"]) == (504, "timeout_error")
    assert await gateway.ledger() == []


# --- what the engine is asked ----------------------------------------------------------------------------------------


async def asked(gateway: LocalGateway, **fields: Any) -> tuple[Exchange, Any]:
    async with gateway.engine(answers) as engine:
        answer = await gateway.ask(MESSAGES, body=body(**fields))
        assert answer.status == 200, answer.body
        return answer, engine.requests[-1]


async def test_blocks_become_what_templates_know(gateway: LocalGateway) -> None:
    _, request = await asked(
        gateway,
        system=[text("Be brief."), text("Be kind.")],
        tools=[{**TOOL, "description": "Looks."}],
        messages=[
            USER,
            said("user", text("you"), text("there")),
            said(
                "assistant", {"type": "thinking", "thinking": "Hm.", "signature": "s"}, text("I "), text("look."), USE
            ),
            said("user", RESULT, {**RESULT, "content": [text("a"), text("b")], "is_error": True}, text("And?")),
            {"role": "system", "content": "Hurry."},
            USER,
        ],
    )
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": {"where": "here"}}}
    result = {"role": "tool", "tool_call_id": "call_1", "name": "look"}
    assert request.messages == [
        {"role": "system", "content": "Be brief.\n\nBe kind."},
        {"role": "user", "content": "hi\n\nyou\n\nthere"},
        {"role": "assistant", "content": "I look.", "tool_calls": [call], "reasoning_content": "Hm."},
        {**result, "content": "nothing"},
        {**result, "content": "Error: a\n\nb"},
        {"role": "user", "content": "And?"},
        {"role": "system", "content": "Hurry."},
        {"role": "user", "content": "hi"},
    ]
    described = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}
    assert request.tools == [{"type": "function", "function": described}]
    assert (request.tool_choice, request.parallel_tool_calls, request.template) == ("auto", True, {})


async def test_fields_become_what_the_engine_knows(gateway: LocalGateway) -> None:
    schema = {"type": "object"}
    _, request = await asked(
        gateway,
        temperature=0.5,
        top_k=3,
        stop_sequences=["a"] * 16,
        tools=[TOOL],
        tool_choice={"type": "tool", "name": "look", "disable_parallel_tool_use": True},
        thinking={"type": "enabled", "budget_tokens": 20},
        output_config={"effort": "high", "format": {"type": "json_schema", "schema": schema}},
        service_tier="auto",
        mcp_servers=[],
        container=None,
    )
    assert (request.max_tokens, request.max_thinking_tokens, len(request.stop)) == (50, 20, 16)
    assert (request.sampling.temperature, request.sampling.top_k) == (0.5, 3)
    assert "top_p" in request.omitted and not {"temperature", "top_k"} & set(request.omitted)
    assert (request.tool_choice, request.tool_name, request.parallel_tool_calls) == ("required", "look", False)
    assert request.template == {"enable_thinking": True, "reasoning_effort": "high"}
    assert request.format.kind == "json_schema" and json.loads(request.format.text) == schema


async def test_what_has_no_effect_is_named(gateway: LocalGateway) -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    foreign = said("assistant", {"type": "redacted_thinking", "data": "x"}, {**USE, **mark})
    answer, request = await asked(
        gateway,
        **mark,
        metadata={"user_id": "u"},
        inference_geo="eu",
        system=[text("Be brief.", **mark)],
        tools=[{**TOOL, **mark, "input_examples": [{}]}],
        tool_choice={"type": "auto", "more": 1},
        messages=[USER, foreign, said("user", {**RESULT, "content": [text("a", **mark)]}, text("b", citations=None))],
    )
    assert set(answer.headers["x-ignored-parameters"].split(", ")) == {
        "cache_control", "metadata", "inference_geo", "system.cache_control", "tools.cache_control",
        "tools.input_examples", "tool_choice.more", "messages.content.redacted_thinking",
        "messages.content.cache_control", "messages.content.content.cache_control",
    }  # fmt: skip
    assert "reasoning_content" not in request.messages[2]
    answer, _ = await asked(gateway)
    assert "x-ignored-parameters" not in answer.headers


# --- how answers are worded ------------------------------------------------------------------------------------------


@with_streams
async def test_an_answer_that_went_round_in_circles_says_so(gateway: LocalGateway, stream: bool) -> None:
    async def circles(engine: Any, request: Any) -> Any:
        yield [Accepted(request.id, 7), FirstToken(request.id, 1.0, 3.0), Delta(request.id, "la la", 2)]
        yield [Ended(request.id, 0, "stop", None, "pattern_loop_len_2"), Finished(request.id, "stop", TALLY)]

    async with gateway.engine(circles):
        answer = await gateway.ask(MESSAGES, body=body(stream=stream))
    message = events_of(answer)[-2][1]["delta"] if stream else answer.json
    assert message["stop_reason"] == "end_turn"
    assert message["stop_details"] == {"type": "repetition_detected", "explanation": "pattern_loop_len_2"}


@with_streams
async def test_a_call_that_is_cut_off_has_no_input_that_could_be_used(gateway: LocalGateway, stream: bool) -> None:
    async def cut(engine: Any, request: Any) -> Any:
        yield [Accepted(request.id, 7), FirstToken(request.id, 1.0, 3.0), Delta(request.id, "Well.", 1)]
        calls = [CallDelta(0, "call_1", "look", '{"where": "here"}'), CallDelta(1, "call_2", "look", '{"whe')]
        yield Delta(request.id, "", 2, calls=calls)
        yield [Ended(request.id, 0, "length"), Finished(request.id, "length", TALLY)]

    async with gateway.engine(cut):
        answer = await gateway.ask(MESSAGES, body=body(stream=stream, tools=[TOOL]))
    if stream:
        events = [data for _, data in events_of(answer)]
        assert [event["index"] for event in events if event["type"] == "content_block_stop"] == [0, 1, 2]
        deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
        assert [delta["partial_json"] for delta in deltas[1:]] == ['{"where": "here"}', '{"whe']
    else:
        assert answer.json["stop_reason"] == "max_tokens"
        assert [block["type"] for block in answer.json["content"]] == ["text", "tool_use", "tool_use"]
        assert [block["input"] for block in answer.json["content"][1:]] == [{"where": "here"}, {}]
