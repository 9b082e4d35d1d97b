"""Several answers, log-probabilities, thoughts and tools, over HTTP with the built-in model."""

import json
from typing import Any

import httpx
import openai
import pytest

from tests.gateway.chats import SUM, ask, chunks_of
from tests.support.server import Server

WEATHER: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
with_streams = pytest.mark.parametrize("stream", [False, True])


@with_streams
def test_several_answers_share_the_prompt_and_have_seeds_of_their_own(
    server: Server, http: httpx.Client, stream: bool
) -> None:
    before = len(server.ledger())
    some = {str(token): 100 for token in range(300, 332)}
    fields: dict[str, Any] = {"temperature": 2, "top_k": 0, "max_tokens": 12, "logit_bias": some}
    choices = ask(http, stream=stream, n=4, seed=5, **fields)
    assert [choice["finish_reason"] for choice in choices] == ["length"] * 4
    texts = [choice["message"]["content"] for choice in choices]
    assert len(set(texts)) == 4
    [first] = ask(http, stream=stream, seed=5, **fields)
    assert first["message"]["content"] == texts[0]
    several, one = server.settled(before, 2)
    assert several["prompt_tokens"] == one["prompt_tokens"]
    assert (several["completion_tokens"], one["completion_tokens"]) == (48, 12)


@with_streams
def test_log_probabilities_are_those_of_what_was_said(http: httpx.Client, stream: bool) -> None:
    [choice] = ask(http, stream=stream, logprobs=True, top_logprobs=3)
    told = choice["logprobs"]["content"]
    assert "".join(each["token"] for each in told) == choice["message"]["content"] == "3 + 4 = 7."
    for each in told:
        assert bytes(each["bytes"]).decode() == each["token"]
        assert len(each["top_logprobs"]) == 3 and each["top_logprobs"][0]["token"] == each["token"]
        assert 0 >= each["logprob"] == each["top_logprobs"][0]["logprob"] >= each["top_logprobs"][1]["logprob"]


def test_log_probabilities_are_before_temperature_and_bias(http: httpx.Client) -> None:
    [plain] = ask(http, stream=False, logprobs=True, max_tokens=1)
    [told] = plain["logprobs"]["content"]
    [hot] = ask(http, stream=False, logprobs=True, max_tokens=1, temperature=0.2, seed=1)
    assert hot["logprobs"]["content"][0] == told


@pytest.mark.parametrize("stream", [False, True])
def test_plain_completions_of_several_prompts(sdk: openai.OpenAI, stream: bool) -> None:
    prompts: Any = ["Hello", "What is", [5, 6, 7]]
    done: Any = sdk.completions.create(
        model="default", prompt=prompts, n=2, max_tokens=4, temperature=0, echo=True, stream=stream
    )
    texts = [""] * 6
    for choice in [choice for chunk in done for choice in chunk.choices] if stream else done.choices:
        texts[choice.index] += choice.text
    assert texts[0] == texts[1] and texts[0].startswith("Hello")
    assert texts[2] == texts[3] and texts[2].startswith("What is")
    assert texts[4] == texts[5] and len(texts[4]) > 3


def test_an_echo_with_log_probabilities_scores_the_prompt(sdk: openai.OpenAI) -> None:
    """As evaluation harnesses ask: nothing is generated."""
    done = sdk.completions.create(model="default", prompt="Hello there, you", max_tokens=0, echo=True, logprobs=2)
    [choice] = done.choices
    told = choice.logprobs
    assert told is not None and told.tokens and told.token_logprobs and told.top_logprobs and told.text_offset
    assert choice.text == "".join(told.tokens) == "Hello there, you" and choice.finish_reason == "length"
    assert told.token_logprobs[0] is None and all(value < 0 for value in told.token_logprobs[1:])
    assert [choice.text[at : at + len(token)] for at, token in zip(told.text_offset, told.tokens, strict=True)] == (
        told.tokens
    )
    assert all(len(top) <= 2 for top in told.top_logprobs[1:])
    assert done.usage is not None and done.usage.completion_tokens == 0
    # The same numbers as when the model says these tokens itself.
    said = sdk.completions.create(
        model="default", prompt="Hello there, you", max_tokens=3, echo=True, logprobs=0, temperature=0
    )
    again = said.choices[0].logprobs
    assert again is not None and again.token_logprobs is not None
    assert again.token_logprobs[1 : len(told.tokens)] == pytest.approx(told.token_logprobs[1:], abs=1e-4)
    assert len(again.token_logprobs) == len(told.tokens) + 3


def test_a_model_without_marks_for_it_does_not_fill_in_the_middle(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.completions.create(model="default", prompt="def f(", suffix="return 1")
    assert refused.value.param == "suffix"


@with_streams
def test_thoughts_have_a_field_of_their_own(http: httpx.Client, stream: bool) -> None:
    [choice] = ask(http, stream=stream, enable_thinking=True)
    message = choice["message"]
    assert message["content"] == "3 + 4 = 7."
    assert message["reasoning_content"] == message["reasoning"] and "7" in message["reasoning"]
    assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize("fields", [{}, {"enable_thinking": False}, {"reasoning_effort": "none"}])
def test_without_being_asked_it_does_not_think(http: httpx.Client, fields: dict[str, Any]) -> None:
    [choice] = ask(http, stream=False, **fields)
    assert "reasoning" not in choice["message"] and choice["message"]["content"] == "3 + 4 = 7."


def test_a_thought_ends_when_its_budget_does(http: httpx.Client) -> None:
    def usage(**fields: Any) -> tuple[int, str]:
        body = {"model": "default", "temperature": 0, "messages": SUM, "reasoning_effort": "low", **fields}
        answer = http.post("/v1/chat/completions", json=body).json()
        assert "think" not in str(answer["choices"])
        reasoning: int = answer["usage"]["completion_tokens_details"]["reasoning_tokens"]
        return reasoning, answer["choices"][0]["message"]["content"]

    whole, text = usage()
    short, same = usage(max_thinking_tokens=2)
    assert short < whole and text == same == "3 + 4 = 7."
    assert usage(max_thinking_tokens=0)[0] < short


@with_streams
def test_a_tool_loop_to_the_final_sentence(http: httpx.Client, stream: bool) -> None:
    [choice] = ask(http, stream=stream, messages=WEATHER, tools=[TOOL])
    message = choice["message"]
    assert choice["finish_reason"] == "tool_calls" and not message.get("content")
    [call] = message["tool_calls"]
    assert call["function"]["name"] == "get_weather" and json.loads(call["function"]["arguments"]) == {"city": "Paris"}
    result = {"role": "tool", "tool_call_id": call["id"], "content": json.dumps({"weather": "sunny", "degrees": 21})}
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    [final] = ask(http, stream=stream, messages=[*WEATHER, asked, result], tools=[TOOL])
    assert final["finish_reason"] == "stop" and "tool_calls" not in final["message"]
    assert final["message"]["content"]


@with_streams
@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "get_weather"}}], ids=["required", "named"]
)
def test_a_call_that_is_required_is_made(http: httpx.Client, stream: bool, choice: Any) -> None:
    [answer] = ask(http, stream=stream, messages=SUM, tools=[TOOL], tool_choice=choice, temperature=1.5, seed=3)
    assert answer["finish_reason"] == "tool_calls"
    for call in answer["message"]["tool_calls"]:
        assert isinstance(json.loads(call["function"]["arguments"])["city"], str)


def test_tools_that_may_not_be_called_are_not(http: httpx.Client) -> None:
    [answer] = ask(http, stream=False, messages=WEATHER, tools=[TOOL], tool_choice="none")
    assert "tool_calls" not in answer["message"] and answer["finish_reason"] != "tool_calls"
    assert "tool_call" not in answer["message"]["content"]


@with_streams
def test_legacy_functions_come_back_as_they_were_asked(http: httpx.Client, stream: bool) -> None:
    [answer] = ask(http, stream=stream, messages=WEATHER, functions=[TOOL["function"]])
    assert answer["finish_reason"] == "function_call" and "tool_calls" not in answer["message"]
    called = answer["message"]["function_call"]
    assert called["name"] == "get_weather" and json.loads(called["arguments"]) == {"city": "Paris"}


def test_a_stop_string_does_not_cut_a_call(http: httpx.Client) -> None:
    [answer] = ask(http, stream=False, messages=WEATHER, tools=[TOOL], stop=["Paris", "city"])
    assert answer["finish_reason"] == "tool_calls"
    assert json.loads(answer["message"]["tool_calls"][0]["function"]["arguments"]) == {"city": "Paris"}


def test_usage_comes_with_the_last_chunk_only_when_asked(http: httpx.Client) -> None:
    body = {"model": "default", "messages": SUM, "n": 2, "stream": True, "stream_options": {"include_usage": True}}
    chunks = chunks_of(http.post("/v1/chat/completions", json=body).text)
    assert [bool(chunk.get("usage")) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1]["choices"] == []
    roles = [chunk["choices"][0]["index"] for chunk in chunks[:-1] if chunk["choices"][0]["delta"].get("role")]
    assert roles == [0, 1]
