"""`/v1/responses` as OpenAI's own SDK sees it, from a whole Atelier with a real model."""

import json
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response
from pydantic import BaseModel

from tests.support.server import Server

RESPONSES = "/v1/responses"
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
QUESTION: Any = {"role": "user", "content": "What is the weather in Paris?"}
RESULT = "18 degrees and sunny"
LOGPROBS: Any = "message.output_text.logprobs"


@pytest.fixture(scope="module")
def stranger(server: Server) -> openai.OpenAI:
    """Another user's key."""
    server.run("createuser", "stranger")
    key = server.run("createkey", "--user", "stranger", "--quiet").split()[-1]
    return openai.OpenAI(base_url=f"{server.base_url}/v1", api_key=key, max_retries=0)


def ask(sdk: openai.OpenAI, **fields: Any) -> Any:
    return sdk.responses.create(**{"model": "default", "temperature": 0, **fields})


def answer_of(call: Any) -> Any:
    return {"type": "function_call_output", "call_id": call.call_id, "output": RESULT}


def test_text_through_the_sdk(server: Server, sdk: openai.OpenAI, http: httpx.Client) -> None:
    before = len(server.ledger())
    fields = {"model": "default", "input": "What is 3 + 4?", "instructions": "Be brief.", "metadata": {"job": "7"}}
    raw = http.post(RESPONSES, json=fields)
    assert raw.status_code == 200
    # Strict: nothing that the type requires is missing, nothing has another type.
    done = Response.model_validate_json(raw.content, strict=True)
    assert done.id.startswith("resp_") and done.object == "response" and done.status == "completed"
    assert done.completed_at is not None and done.completed_at >= done.created_at > 1_600_000_000
    assert done.model == sdk.models.list().data[0].id
    [message] = done.output
    assert message.type == "message" and message.role == "assistant" and message.status == "completed"
    assert done.output_text == "3 + 4 = 7."
    assert (done.instructions, done.metadata, done.error, done.incomplete_details) == (
        "Be brief.", {"job": "7"}, None, None,
    )  # fmt: skip
    [row] = server.settled(before, 1)
    assert (row["endpoint"], row["outcome"], bool(row["stream"])) == ("responses", "stop", False)
    assert done.usage is not None
    assert (row["prompt_tokens"], row["completion_tokens"]) == (done.usage.input_tokens, done.usage.output_tokens)
    assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens


@pytest.mark.parametrize(
    "given",
    [
        "What is 3 + 4?",
        [{"role": "user", "content": "What is 3 + 4?"}],
        [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What is 3 + 4?"}]}],
    ],
)
def test_the_shapes_of_an_input(sdk: openai.OpenAI, given: Any) -> None:
    assert ask(sdk, input=given).output_text == "3 + 4 = 7."


def test_the_events_of_a_stream(http: httpx.Client, sdk: openai.OpenAI) -> None:
    fields = {"model": "default", "input": "What is 3 + 4?", "temperature": 0, "enable_thinking": True}
    raw = http.post(RESPONSES, json={**fields, "stream": True})
    assert raw.headers["content-type"] == "text/event-stream; charset=utf-8"
    blocks = raw.text.removesuffix("\n\n").split("\n\n")
    events = []
    for block in blocks:
        name, data = block.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    order = [
        event["type"].removeprefix("response.")
        for at, event in enumerate(events)
        if at == 0 or event["type"] != events[at - 1]["type"]
    ]
    item = ["output_item.added", "content_part.added"], ["content_part.done", "output_item.done"]
    assert order == [
        "created", "in_progress",
        *item[0], "reasoning_text.delta", "reasoning_text.done", *item[1],
        *item[0], "output_text.delta", "output_text.done", *item[1],
        "completed",
    ]  # fmt: skip
    final = events[-1]["response"]
    assert accumulated(events) == final["output"]
    assert [each["type"] for each in final["output"]] == ["reasoning", "message"]
    assert all(event["response"]["output"] == [] for event in events[:2])
    whole = ask(sdk, input=fields["input"], extra_body={"enable_thinking": True})
    assert whole.output[0].content[0].text == final["output"][0]["content"][0]["text"]
    assert whole.output[0].summary == []
    assert whole.output_text == final["output"][1]["content"][0]["text"] == "3 + 4 = 7."
    assert whole.usage.output_tokens_details.reasoning_tokens > 0
    assert whole.usage.output_tokens == final["usage"]["output_tokens"]


def accumulated(events: list[Any]) -> list[Any]:
    """The output items as a client builds them of the events."""
    items: list[Any] = []
    for event in events:
        at = event.get("output_index")
        match event["type"].removeprefix("response."):
            case "output_item.added":
                assert at == len(items)
                items.append(event["item"])
            case "content_part.added":
                items[at]["content"].append(event["part"])
            case "output_text.delta" | "reasoning_text.delta":
                items[at]["content"][event["content_index"]]["text"] += event["delta"]
            case "function_call_arguments.delta":
                items[at]["arguments"] += event["delta"]
            case "output_text.done" | "reasoning_text.done":
                assert items[at]["content"][0]["text"] == event["text"]
            case "function_call_arguments.done":
                assert items[at]["arguments"] == event["arguments"]
            case "content_part.done":
                assert items[at]["content"] == [event["part"]]
            case "output_item.done":
                items[at]["status"] = "completed"
                assert items[at] == event["item"]
        if "item_id" in event:
            assert event["item_id"] == items[at]["id"]
    return items


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_loop_that_continues_what_is_stored(server: Server, sdk: openai.OpenAI, stream: bool) -> None:
    before = len(server.ledger())

    def turn(**fields: Any) -> Any:
        if not stream:
            return ask(sdk, tools=[WEATHER], **fields)
        with sdk.responses.stream(model="default", temperature=0, tools=[WEATHER], **fields) as events:
            return events.get_final_response()

    first = turn(input=[QUESTION])
    [call] = first.output
    assert (call.type, call.name, json.loads(call.arguments)) == ("function_call", "get_weather", {"city": "Paris"})
    assert call.id.startswith("fc_") and call.call_id and call.status == "completed"
    last = turn(input=[answer_of(call)], previous_response_id=first.id)
    assert RESULT in last.output_text and last.previous_response_id == first.id
    assert [row["outcome"] for row in server.settled(before, 2)] == ["stop", "stop"]


def test_a_tool_loop_that_sends_everything(sdk: openai.OpenAI) -> None:
    conversation: list[Any] = [QUESTION]
    first = ask(sdk, input=conversation, tools=[WEATHER], store=False)
    conversation += first.output
    conversation.append(answer_of(first.output[0]))
    assert RESULT in ask(sdk, input=conversation, tools=[WEATHER], store=False).output_text


def test_a_tool_loop_with_references(sdk: openai.OpenAI) -> None:
    first = ask(sdk, input=[QUESTION], tools=[WEATHER])
    refer: Any = {"type": "item_reference", "id": first.output[0].id}
    last = ask(sdk, input=[QUESTION, refer, answer_of(first.output[0])], tools=[WEATHER])
    assert RESULT in last.output_text


@pytest.mark.parametrize("stream", [False, True])
def test_a_thought_goes_on_where_its_content_was_dropped(sdk: openai.OpenAI, stream: bool) -> None:
    """As agents do that store nothing on the server: of a thought they keep what is called encrypted."""
    fields: Any = {
        "model": "default", "input": [QUESTION], "store": False, "temperature": 0, "tools": [WEATHER],
        "include": ["reasoning.encrypted_content"], "extra_body": {"enable_thinking": True}, "tool_choice": "required",
    }  # fmt: skip
    if stream:
        with sdk.responses.stream(**fields) as events:
            first = events.get_final_response()
    else:
        first = sdk.responses.create(**fields)
    thought, call, *_ = [item.to_dict() for item in first.output]
    assert (thought["type"], call["type"]) == ("reasoning", "function_call")

    def shown(*items: Any) -> int:
        """Tokens of the prompt."""
        said = ask(sdk, input=[QUESTION, *items, call, answer_of(first.output[1])], tools=[WEATHER], store=False)
        return int(said.usage.input_tokens)

    sealed = {name: value for name, value in thought.items() if name != "content"}
    assert shown(sealed) == shown(thought) > shown()


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "get_weather"}])
def test_a_call_can_be_required(sdk: openai.OpenAI, choice: Any) -> None:
    done = ask(sdk, input="Hello!", tools=[WEATHER], tool_choice=choice, max_output_tokens=200)
    assert [item.type for item in done.output] == ["function_call"]
    assert isinstance(json.loads(done.output[0].arguments)["city"], str)
    assert done.tools[0].name == "get_weather"


def test_parallel_calls_and_none(sdk: openai.OpenAI) -> None:
    question = "What is the weather in Paris and in London?"
    both = ask(sdk, input=question, tools=[WEATHER])
    assert [json.loads(item.arguments)["city"] for item in both.output] == ["Paris", "London"]
    assert len({item.call_id for item in both.output}) == len({item.id for item in both.output}) == 2
    none = ask(sdk, input=question, tools=[WEATHER], tool_choice="none")
    assert [item.type for item in none.output] == ["message"]


class Person(BaseModel):
    name: str
    age: int


def test_structured_output(sdk: openai.OpenAI) -> None:
    fields: Any = {"model": "default", "input": "Anna is 30 years old. Reply with JSON.", "temperature": 0}
    parsed = sdk.responses.parse(**fields, text_format=Person)
    assert isinstance(parsed.output_parsed, Person)
    with sdk.responses.stream(**fields, text_format=Person) as events:
        assert events.get_final_response().output_parsed == parsed.output_parsed
    loose = ask(sdk, input=fields["input"], text={"format": {"type": "json_object"}}, max_output_tokens=200)
    assert isinstance(json.loads(loose.output_text), dict)
    digits = {"format": {"type": "regex", "regex": "[0-9]{3}"}}
    assert ask(sdk, input="Hello!", extra_body={"text": digits}).output_text.isdigit()


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_cut_short_is_incomplete(sdk: openai.OpenAI, stream: bool) -> None:
    said = ask(sdk, input="Count from 1 to 10.", max_output_tokens=4, stream=stream)
    if stream:
        *_, last = said
        assert last.type == "response.incomplete"
        said = last.response
    assert said.status == "incomplete" and said.incomplete_details.reason == "max_output_tokens"
    assert said.output[0].status == "incomplete" and said.completed_at is None
    assert said.usage.output_tokens == 4
    assert ask(sdk, input="What is 3 + 4?", previous_response_id=said.id).output_text == "3 + 4 = 7."


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs(sdk: openai.OpenAI, stream: bool) -> None:
    said = ask(sdk, input="What is 3 + 4?", include=[LOGPROBS], top_logprobs=2, stream=stream)
    if stream:
        events = list(said)
        said = events[-1].response
        deltas = [event for event in events if event.type == "response.output_text.delta"]
        assert all("".join(each.token for each in event.logprobs) == event.delta for event in deltas)
    tokens = said.output[0].content[0].logprobs
    assert "".join(each.token for each in tokens) == said.output_text
    assert all(len(each.top_logprobs) == 2 and each.logprob <= 0 for each in tokens)


def test_what_is_stored_can_be_read_listed_and_deleted(sdk: openai.OpenAI, http: httpx.Client) -> None:
    first = ask(sdk, input="My name is Anna.")
    second = ask(sdk, input="What is my name?", previous_response_id=first.id)
    assert "Anna" in second.output_text
    assert sdk.responses.retrieve(second.id) == second
    assert sdk.responses.retrieve(second.id, include=[LOGPROBS]) == second
    latest_first = list(sdk.responses.input_items.list(second.id))
    assert [item.content[0].text for item in latest_first] == [  # type: ignore[union-attr]
        "What is my name?", first.output_text, "My name is Anna.",
    ]  # fmt: skip
    assert latest_first[1].id == first.output[0].id
    paged = list(sdk.responses.input_items.list(second.id, order="asc", limit=1))
    assert paged == latest_first[::-1]
    page = http.get(f"{RESPONSES}/{second.id}/input_items?limit=2").json()
    assert page["has_more"] and page["first_id"] == page["data"][0]["id"] and page["last_id"] == page["data"][1]["id"]
    with pytest.raises(openai.BadRequestError, match="background"):
        sdk.responses.cancel(second.id)
    answer = http.delete(f"{RESPONSES}/{first.id}")
    assert answer.json() == {"id": first.id, "object": "response", "deleted": True}
    gone(sdk, first.id)
    # What came after has its own copy.
    assert len(list(sdk.responses.input_items.list(second.id))) == 3
    sdk.responses.delete(second.id)


def gone(sdk: openai.OpenAI, id: str) -> None:
    """Whoever asks with this key can't tell whether it ever was."""
    calls: list[Any] = [
        sdk.responses.retrieve, sdk.responses.delete, sdk.responses.cancel, sdk.responses.input_items.list,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(openai.NotFoundError) as missing:
            call(id)
        assert missing.value.code == "response_not_found"
    with pytest.raises(openai.BadRequestError) as unknown:
        ask(sdk, input="And now?", previous_response_id=id)
    assert (unknown.value.code, unknown.value.param) == ("previous_response_not_found", "previous_response_id")


def test_nobody_else_sees_it(sdk: openai.OpenAI, stranger: openai.OpenAI) -> None:
    mine = ask(sdk, input="My name is Anna.")
    gone(stranger, mine.id)
    with pytest.raises(openai.BadRequestError) as refused:
        ask(stranger, input=[{"type": "item_reference", "id": mine.output[0].id}])
    assert refused.value.param == "input[0].id"
    assert sdk.responses.retrieve(mine.id) == mine


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_not_to_be_stored_is_not(sdk: openai.OpenAI, stream: bool) -> None:
    said = ask(sdk, input="Hello!", store=False, stream=stream)
    response = list(said)[-1].response if stream else said
    assert response.store is False
    gone(sdk, response.id)


def test_a_stream_can_be_continued_at_its_last_event(sdk: openai.OpenAI) -> None:
    for event in ask(sdk, input="My name is Anna.", stream=True):
        if event.type == "response.completed":
            assert "Anna" in ask(sdk, input="What is my name?", previous_response_id=event.response.id).output_text


def test_what_is_ignored_is_said(http: httpx.Client) -> None:
    fields: dict[str, Any] = {
        "model": "default",
        "input": [{"role": "user", "content": "Hello!", "phase": "commentary"}],
        "tools": [{**WEATHER, "defer_loading": True}],
        "text": {"verbosity": "low"},
        "reasoning": {"summary": "auto"},
        "stream_options": {"include_obfuscation": False, "include_usage": True},
        "user": "ada", "safety_identifier": "x", "prompt_cache_key": "y", "made_up": 1,
        "store": False, "stream": True, "max_output_tokens": 1, "service_tier": "auto",
    }  # fmt: skip
    ignored = http.post(RESPONSES, json=fields).headers["x-ignored-parameters"]
    assert set(ignored.split(", ")) == {
        "user", "safety_identifier", "prompt_cache_key", "made_up", "input.phase", "tools.defer_loading",
        "text.verbosity", "reasoning.summary", "stream_options.include_usage",
    }  # fmt: skip
    assert "x-ignored-parameters" not in http.post(RESPONSES, json={"model": "default", "input": "Hello!"}).headers
    assert http.get(f"{RESPONSES}/resp_x?made_up=1").headers["x-ignored-parameters"] == "made_up"
