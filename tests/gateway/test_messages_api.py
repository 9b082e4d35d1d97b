"""Anthropic's Messages as its own SDK sees them, from a whole Atelier with a real model."""

import json
from itertools import groupby
from typing import Any

import anthropic
import httpx
import pydantic
import pytest

from tests.support.server import Server

MESSAGES = "/v1/messages"
COUNT = "/v1/messages/count_tokens"
SUM: list[Any] = [{"role": "user", "content": "What is 3 + 4?"}]
WEATHER: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
TOOL: dict[str, Any] = {
    "name": "get_weather",
    "description": "The weather in a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
THINK = {"type": "enabled", "budget_tokens": 60}

with_streams = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@pytest.fixture(scope="module")
def sdk(server: Server) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.base_url, api_key=server.key, max_retries=0)


def fields(**more: Any) -> dict[str, Any]:
    """The built-in model's own default is greedy."""
    return {"model": "default", "max_tokens": 100, "messages": SUM, **more}


def say(sdk: anthropic.Anthropic, stream: bool = False, **more: Any) -> anthropic.types.Message:
    """The message, whole or as the SDK puts it together from a stream."""
    if not stream:
        return sdk.messages.create(**fields(**more))
    with sdk.messages.stream(**fields(**more)) as events:
        return events.get_final_message()


def text_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


# --- models ----------------------------------------------------------------------------------------------------------


def test_the_models_as_this_sdk_reads_them(sdk: anthropic.Anthropic, http: httpx.Client) -> None:
    page = sdk.models.list()
    ids = [model["id"] for model in http.get("/v1/models").json()["data"]]
    assert [model.id for model in page] == ids and not page.has_more
    assert (page.first_id, page.last_id) == (ids[0], ids[-1])
    model = sdk.models.retrieve(ids[0])
    assert model == page.data[0]
    assert (model.type, model.display_name, model.lifecycle) == ("model", ids[0], "active")
    assert model.created_at.year >= 2026 and model.max_input_tokens and model.max_input_tokens > 1000
    with pytest.raises(anthropic.NotFoundError):
        sdk.models.retrieve("nothing")


# --- answers ---------------------------------------------------------------------------------------------------------


@with_streams
def test_a_message(server: Server, sdk: anthropic.Anthropic, stream: bool) -> None:
    before = len(server.ledger())
    message = say(sdk, stream)
    assert message.id.startswith("msg_") and message.type == "message" and message.role == "assistant"
    assert message.model == "atelier-tiny"
    assert [block.type for block in message.content] == ["text"] and text_of(message) == "3 + 4 = 7."
    assert (message.stop_reason, message.stop_sequence, message.stop_details) == ("end_turn", None, None)
    [row] = server.settled(before, 1)
    assert (row["endpoint"], row["outcome"], bool(row["stream"])) == ("messages", "stop", stream)
    usage = message.usage
    assert usage.input_tokens + (usage.cache_read_input_tokens or 0) == row["prompt_tokens"] > 0
    assert usage.cache_read_input_tokens == row["cached_tokens"] and usage.cache_creation_input_tokens == 0
    assert usage.output_tokens == row["completion_tokens"] > 0


def test_the_request_id_is_where_the_sdk_looks_for_it(sdk: anthropic.Anthropic) -> None:
    message = sdk.messages.create(**fields(), extra_headers={"x-request-id": "mine"})
    assert message._request_id == "mine"


def test_the_second_time_the_prompt_comes_from_the_cache(sdk: anthropic.Anthropic) -> None:
    asked = [{"role": "user", "content": "Please repeat: one two three four five six seven"}]
    first, second = say(sdk, messages=asked).usage, say(sdk, messages=asked).usage
    assert second.cache_read_input_tokens > first.cache_read_input_tokens
    assert second.input_tokens + second.cache_read_input_tokens == first.input_tokens + first.cache_read_input_tokens


@pytest.mark.parametrize(
    ("more", "kinds"),
    [
        ({}, ["text"]),
        ({"thinking": THINK}, ["thinking", "text"]),
        ({"messages": WEATHER, "tools": [TOOL]}, ["tool_use"]),
    ],
    ids=["text", "thinking", "tool"],
)
def test_the_events_of_a_stream(http: httpx.Client, sdk: anthropic.Anthropic, more: Any, kinds: list[str]) -> None:
    whole = say(sdk, **more)
    with http.stream("POST", MESSAGES, json=fields(**more, stream=True)) as answer:
        raw = b"".join(answer.iter_raw()).decode()
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8" and answer.headers["request-id"]
    blocks = [block.split("\n") for block in raw.removesuffix("\n\n").split("\n\n")]
    assert all(name.startswith("event: ") and data.startswith("data: ") for name, data in blocks), raw
    events = [json.loads(data.removeprefix("data: ")) for _, data in blocks]
    assert [name.removeprefix("event: ") for name, _ in blocks] == [event["type"] for event in events]
    order = ["content_block_start", "content_block_delta", "content_block_stop"]
    assert [type for type, _ in groupby(event["type"] for event in events)] == [
        "message_start", *(order * len(kinds)), "message_delta", "message_stop",
    ]  # fmt: skip
    started = events[0]["message"]
    assert (started["content"], started["stop_reason"], started["usage"]["output_tokens"]) == ([], None, 0)
    told, ended = started["usage"], events[-2]["usage"]
    for counted in ("input_tokens", "cache_read_input_tokens"):
        assert told[counted] == ended[counted]
    assert told["input_tokens"] + told["cache_read_input_tokens"] > 0
    assert ended["output_tokens"] == whole.usage.output_tokens
    starts = [event for event in events if event["type"] == "content_block_start"]
    assert [event["content_block"]["type"] for event in starts] == kinds
    assert [event["index"] for event in events if "index" in event] == sorted(
        event["index"] for event in events if "index" in event
    )
    if "thinking" in kinds:
        deltas = [event["delta"]["type"] for event in events if event.get("index") == 0 and "delta" in event]
        assert deltas == ["thinking_delta"] * (len(deltas) - 1) + ["signature_delta"]


@with_streams
def test_the_system_prompt_is_read(sdk: anthropic.Anthropic, stream: bool) -> None:
    asked = [{"role": "user", "content": "What is the secret word?"}]
    for system in (
        "The secret word is banana.",
        [{"type": "text", "text": "The secret word is banana.", "cache_control": {"type": "ephemeral"}}],
    ):
        assert "banana" in text_of(say(sdk, stream, messages=asked, system=system))
    assert "banana" not in text_of(say(sdk, stream, messages=asked))


@with_streams
def test_max_tokens_and_stop_sequences_end_a_message(sdk: anthropic.Anthropic, stream: bool) -> None:
    cut = say(sdk, stream, max_tokens=3)
    assert cut.stop_reason == "max_tokens" and cut.usage.output_tokens == 3
    stopped = say(sdk, stream, stop_sequences=["nothing", " = 7"])
    assert text_of(stopped) == "3 + 4"
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", " = 7")


def test_the_answer_is_drawn_as_it_is_asked(sdk: anthropic.Anthropic) -> None:
    """The newest SDK has no names for these any more; the API does."""

    def say_hot(**more: Any) -> set[str]:
        return {text_of(say(sdk, extra_body={"temperature": 1, **more}, messages=story)) for _ in range(4)}

    story = [{"role": "user", "content": "Tell me a story."}]
    assert len(say_hot()) > 1
    assert len(say_hot(top_k=1)) == len(say_hot(top_p=0)) == len(say_hot(temperature=0)) == 1


@with_streams
def test_a_begun_answer_is_continued(sdk: anthropic.Anthropic, stream: bool) -> None:
    begun = [*SUM, {"role": "assistant", "content": "3 + 4"}]
    assert text_of(say(sdk, stream, messages=begun)) == " = 7."
    assert text_of(say(sdk, stream, messages=[*SUM, {"role": "assistant", "content": ""}])) == "3 + 4 = 7."


def test_a_begun_answer_that_the_template_changes_is_refused(sdk: anthropic.Anthropic) -> None:
    """What stands before the mark, it takes for a thought."""
    begun: Any = [*SUM, {"role": "assistant", "content": "3 + 4</think>"}]
    for ask in (
        lambda: say(sdk, messages=begun),
        lambda: say(sdk, stream=True, messages=begun),
        lambda: sdk.messages.count_tokens(model="default", messages=begun),
    ):
        with pytest.raises(anthropic.BadRequestError, match="chat template can't render") as caught:
            ask()
        assert "3 + 4" not in str(caught.value)


# --- tools -----------------------------------------------------------------------------------------------------------


@with_streams
def test_a_tool_loop_to_the_final_sentence(server: Server, sdk: anthropic.Anthropic, stream: bool) -> None:
    before = len(server.ledger())
    asked = say(sdk, stream, messages=WEATHER, tools=[TOOL])
    assert asked.stop_reason == "tool_use"
    [use] = asked.content
    assert use.type == "tool_use" and (use.name, use.input) == ("get_weather", {"city": "Paris"})
    result = {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "sunny, 21 degrees"}]}
    turns = [*WEATHER, {"role": "assistant", "content": asked.content}, {"role": "user", "content": [result]}]
    final = say(sdk, stream, messages=turns, tools=[TOOL])
    assert final.stop_reason == "end_turn" and text_of(final) == "The weather in Paris: sunny, 21 degrees."
    assert [row["outcome"] for row in server.settled(before, 2)] == ["stop", "stop"]


@with_streams
@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}], ids=["any", "tool"])
def test_a_call_that_is_required_is_made_once(sdk: anthropic.Anthropic, stream: bool, choice: Any) -> None:
    choice = {**choice, "disable_parallel_tool_use": True}
    # At this temperature a mere string may grow as long as the answer.
    cities = {"type": "string", "enum": ["Paris", "Rome"]}
    tool = {**TOOL, "input_schema": {"type": "object", "properties": {"city": cities}, "required": ["city"]}}
    message = say(sdk, stream, tools=[tool], tool_choice=choice, extra_body={"temperature": 1})
    [use] = message.content
    assert message.stop_reason == "tool_use"
    assert use.type == "tool_use" and use.name == "get_weather" and use.input["city"] in cities["enum"]


def test_tools_that_may_not_be_called_are_not(sdk: anthropic.Anthropic) -> None:
    message = say(sdk, messages=WEATHER, tools=[TOOL], tool_choice={"type": "none"})
    assert [block.type for block in message.content] == ["text"] and message.stop_reason == "end_turn"


def test_structured_output(sdk: anthropic.Anthropic) -> None:
    class Person(pydantic.BaseModel):
        name: str
        age: int

    asked: Any = [{"role": "user", "content": "Write as JSON: Ada is 36."}]
    parsed = sdk.messages.parse(**fields(messages=asked), output_format=Person)
    assert parsed.parsed_output is not None and parsed.parsed_output.name
    form = {"type": "json_schema", "schema": {"const": "yes"}}
    for more in ({"output_format": form}, {"output_config": {"format": form}}):
        assert text_of(sdk.messages.create(**fields(), extra_body=more)) == '"yes"'


# --- thinking --------------------------------------------------------------------------------------------------------


@with_streams
def test_thinking_comes_first_and_within_its_budget(sdk: anthropic.Anthropic, stream: bool) -> None:
    free = say(sdk, stream, thinking={"type": "adaptive"})
    thought, text = free.content
    assert thought.type == "thinking" and thought.thinking and thought.signature == ""
    assert text.type == "text" and text.text == "3 + 4 = 7."
    thinking = free.usage.output_tokens_details.thinking_tokens
    assert 0 < thinking < free.usage.output_tokens
    short = say(sdk, stream, thinking={"type": "enabled", "budget_tokens": 2})
    assert short.usage.output_tokens_details.thinking_tokens < thinking
    assert text_of(short) == "3 + 4 = 7."
    assert [block.type for block in say(sdk, stream, thinking={"type": "disabled"}).content] == ["text"]


@with_streams
def test_a_thought_that_is_not_to_be_shown_is_not(sdk: anthropic.Anthropic, stream: bool) -> None:
    message = say(sdk, stream, thinking={"type": "adaptive", "display": "omitted"})
    thought, text = message.content
    assert (thought.type, thought.thinking) == ("thinking", "") and text.type == "text"
    assert message.usage.output_tokens_details.thinking_tokens > 0


@with_streams
def test_a_tool_loop_with_thinking_and_its_history(sdk: anthropic.Anthropic, stream: bool) -> None:
    more: dict[str, Any] = {"tools": [TOOL], "thinking": {"type": "adaptive"}}
    asked = say(sdk, stream, messages=WEATHER, **more)
    assert [block.type for block in asked.content] == ["thinking", "tool_use"]
    result = {"type": "tool_result", "tool_use_id": asked.content[-1].id, "content": "rain, 9 degrees"}
    turns = [*WEATHER, {"role": "assistant", "content": asked.content}, {"role": "user", "content": [result]}]
    final = say(sdk, stream, messages=turns, **more)
    assert final.stop_reason == "end_turn" and "rain" in text_of(final)
    turns += [{"role": "assistant", "content": final.content}, {"role": "user", "content": "What is 3 + 4?"}]
    assert text_of(say(sdk, stream, messages=turns)) == "3 + 4 = 7."


# --- counting --------------------------------------------------------------------------------------------------------

CALLED = [
    *WEATHER,
    {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "A tool knows.", "signature": ""},
        {"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {"city": "Paris"}},
    ]},
    {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "call_1", "content": "closed", "is_error": True},
        {"type": "text", "text": "And now?"},
    ]},
]  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"system": "Be brief."},
        {"messages": CALLED, "tools": [TOOL]},
        {"messages": WEATHER, "tools": [TOOL], "tool_choice": {"type": "none"}},
        {"thinking": THINK},
        {"messages": [*SUM, {"role": "assistant", "content": "3 + 4"}]},
    ],
    ids=["plain", "system", "tools", "no tools", "thinking", "begun"],
)
def test_the_count_is_what_the_request_uses(server: Server, sdk: anthropic.Anthropic, more: dict[str, Any]) -> None:
    before = len(server.ledger())
    counted = sdk.messages.count_tokens(model="default", **{"messages": SUM, **more}).input_tokens
    assert len(server.ledger()) == before
    usage = say(sdk, **more).usage
    assert counted == usage.input_tokens + (usage.cache_read_input_tokens or 0) > 0


def test_a_prompt_that_is_too_long_can_still_be_counted(sdk: anthropic.Anthropic) -> None:
    long: Any = [{"role": "user", "content": "word " * 20_000}]
    assert sdk.messages.count_tokens(model="default", messages=long).input_tokens > 20_000
    with pytest.raises(anthropic.BadRequestError, match="context holds 8192 tokens"):
        say(sdk, messages=long)
