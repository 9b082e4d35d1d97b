"""Forms of answers over HTTP with the built-in model: what comes back has the form, and what can't be had is said."""

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from tests.gateway.chats import ask, chunks_of
from tests.support.guided import HOT, check
from tests.support.schemas import SCHEMAS
from tests.support.server import Server
from tests.support.streams import events

SAY: list[Any] = [{"role": "user", "content": "Tell me something."}]
with_streams = pytest.mark.parametrize("stream", [False, True])
OPTIONAL = "[^a]?" * 12_000
"""Takes a minute to compile, if anybody waits for it."""


def json_schema(schema: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, **fields}}


def tool(parameters: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "look_up", "parameters": parameters, **fields}}


@with_streams
def test_answers_of_all_schemas_at_once_are_valid(http: httpx.Client, stream: bool) -> None:
    def one(seed: int) -> None:
        schema = list(SCHEMAS.values())[seed % len(SCHEMAS)]
        form = json_schema(schema, strict=True)
        [choice] = ask(http, stream=stream, messages=SAY, response_format=form, temperature=HOT, seed=seed)
        assert choice["finish_reason"] == "stop"
        check(schema, choice["message"]["content"])

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(one, range(32)))


def test_a_form_is_streamed_token_by_token(http: httpx.Client) -> None:
    body = {"model": "default", "messages": SAY, "stream": True, "temperature": HOT, "seed": 1}
    form = {"type": "regex", "regex": "[a-z]( [a-z]){20}"}
    chunks = chunks_of(http.post("/v1/chat/completions", json={**body, "response_format": form}).text)
    assert sum(bool(part["delta"].get("content")) for chunk in chunks for part in chunk["choices"]) >= 4


@with_streams
@pytest.mark.parametrize(
    ("form", "pattern"),
    [
        ({"type": "regex", "regex": r"\d{2}:\d{2}"}, r"\d{2}:\d{2}"),
        ({"type": "grammar", "grammar": 'start: "yes" | "no" /, [a-z]{2,9}/'}, "yes|no, [a-z]{2,9}"),
        ({"type": "text"}, ".*"),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_other_forms(http: httpx.Client, stream: bool, form: Any, pattern: str) -> None:
    [choice] = ask(http, stream=stream, response_format=form, temperature=HOT, seed=4, n=1)
    assert choice["finish_reason"] == "stop" and re.fullmatch(pattern, choice["message"]["content"], re.DOTALL)


def test_a_json_object(http: httpx.Client) -> None:
    fields: dict[str, Any] = {"response_format": {"type": "json_object"}, "max_tokens": 400, "temperature": HOT}
    choices = ask(http, stream=False, messages=SAY, n=8, seed=1, **fields)
    ended = [choice["message"]["content"] for choice in choices if choice["finish_reason"] == "stop"]
    assert ended and all(isinstance(json.loads(text), dict) for text in ended)


def test_the_sdk_parses_what_comes_back(server: Server) -> None:
    import pydantic

    class Person(pydantic.BaseModel):
        class Address(pydantic.BaseModel):
            street: str = pydantic.Field(max_length=20)
            number: int = pydantic.Field(ge=1, le=99)

        name: str = pydantic.Field(max_length=20)
        addresses: list[Address] = pydantic.Field(max_length=2)
        nickname: str | None = pydantic.Field(max_length=9)

    sdk = openai.OpenAI(base_url=f"{server.base_url}/v1", api_key=server.key, max_retries=0)
    done = sdk.chat.completions.parse(
        model="default", messages=SAY, response_format=Person, temperature=HOT, seed=2, n=4
    )
    for choice in done.choices:
        assert choice.finish_reason == "stop" and isinstance(choice.message.parsed, Person)


@with_streams
@pytest.mark.parametrize("budget", [None, 0, 5])
def test_a_thought_comes_before_the_form(http: httpx.Client, stream: bool, budget: int | None) -> None:
    fields = {} if budget is None else {"max_thinking_tokens": budget}
    form = json_schema(SCHEMAS["choices"])
    [choice] = ask(http, stream=stream, response_format=form, enable_thinking=True, temperature=0, seed=3, **fields)
    message = choice["message"]
    assert choice["finish_reason"] == "stop" and check(SCHEMAS["choices"], message["content"])
    assert "think" not in str(message.get("reasoning")) and bool(message.get("reasoning")) is (budget != 0)


@with_streams
def test_a_tool_with_references_of_its_own(http: httpx.Client, stream: bool) -> None:
    parameters = SCHEMAS["references"]
    tools = [tool(parameters), {**tool({"type": "object"}), "function": {"name": "other", "strict": True}}]
    fields: dict[str, Any] = {"tools": tools, "temperature": HOT, "parallel_tool_calls": False}
    choice_ = {"type": "function", "function": {"name": "look_up"}}
    for seed in range(4):
        [choice] = ask(http, stream=stream, messages=SAY, tool_choice=choice_, seed=seed, **fields)
        [call] = choice["message"]["tool_calls"]
        assert choice["finish_reason"] == "tool_calls" and check(parameters, call["function"]["arguments"])


# --- what can't be had -----------------------------------------------------------------------------------------------

RESPONSE_FORMATS = {
    "no schema": ({"type": "json_schema", "json_schema": {"name": "a"}}, "schema"),
    "not an object": (json_schema(["a"]), "schema"),
    "never valid": (json_schema(False), "JSON object"),
    "unknown type": (json_schema({"type": "text"}), "text"),
    "unknown keyword": (json_schema({"type": "array", "uniqueItems": True}), "uniqueItems"),
    "the same without strict": (json_schema({"type": "array", "uniqueItems": True}, strict=False), "uniqueItems"),
    "a client's own options": (
        json_schema({"type": "array", "uniqueItems": True, "x-guidance": {"lenient": True}}),
        "uniqueItems",
    ),
    "endless": (json_schema({"$ref": "#"}), "end"),
    "huge": (json_schema({"enum": [f"value {at}" for at in range(100_000)]}), "256 KiB"),
    "a float of items": (json_schema({"type": "array", "minItems": 1e9}), "minItems"),
    "heavy pattern": (json_schema({"type": "string", "pattern": OPTIONAL}), "too complex"),
    "heavy regex": ({"type": "regex", "regex": OPTIONAL}, "too complex"),
    "broken regex": ({"type": "regex", "regex": "(a"}, "unclosed group"),
    "no regex": ({"type": "regex"}, "regex"),
    "broken grammar": ({"type": "grammar", "grammar": "start: sum"}, "sum"),
    "a chain of rules": (
        {"type": "grammar", "grammar": "start: a0\n" + "\n".join(f"a{n}: a{n + 1}" for n in range(12_000))},
        "too complex",
    ),
    "unknown form": ({"type": "xml"}, "json_schema"),
}


@pytest.mark.parametrize("case", RESPONSE_FORMATS)
def test_a_form_that_can_not_be_followed_is_refused(http: httpx.Client, case: str) -> None:
    form, says = RESPONSE_FORMATS[case]
    answer = http.post("/v1/chat/completions", json={"model": "default", "messages": SAY, "response_format": form})
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["type"] == "invalid_request_error"
    assert error["param"].startswith("response_format") and "response_format" in error["message"]
    assert says in error["message"] and len(error["message"]) < 500


WORKS = {
    "a billion items": {"type": "array", "items": {"type": "integer"}, "minItems": 10**9},
    "a billion characters": {"type": "string", "minLength": 10**9, "maxLength": 2 * 10**9},
    "repetitions of repetitions": {"type": "string", "pattern": "^(a{1,1000}){1,1000}$"},
    "many values": {"enum": [f"value {at}" for at in range(10_000)]},
}


@pytest.mark.parametrize("case", WORKS)
def test_a_form_that_only_looks_heavy_works(http: httpx.Client, case: str) -> None:
    [choice] = ask(http, stream=False, messages=SAY, response_format=json_schema(WORKS[case]), max_tokens=40)
    assert choice["message"]["content"]


def unique(**fields: Any) -> dict[str, Any]:
    return tool(
        {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True, "maxItems": 2}}}, **fields
    )


def test_only_a_strict_tool_has_promised_that_every_keyword_counts(http: httpx.Client) -> None:
    body = {"model": "default", "messages": SAY, "tool_choice": "required", "temperature": 0, "max_tokens": 300}
    for fields in ({}, {"strict": False}):
        assert http.post("/v1/chat/completions", json={**body, "tools": [unique(**fields)]}).status_code == 200
    refused = http.post("/v1/chat/completions", json={**body, "tools": [unique(strict=True)]})
    error = refused.json()["error"]
    assert refused.status_code == 400 and error["param"] == "tools"
    assert "tools" in error["message"] and "look_up" in error["message"] and "uniqueItems" in error["message"]


def test_a_bias_that_leaves_nothing_to_say_is_named(http: httpx.Client) -> None:
    body = {"model": "default", "messages": SAY, "response_format": {"type": "regex", "regex": "ab"}}
    failed = http.post("/v1/chat/completions", json={**body, "logit_bias": {"761": -100, "759": -100}})
    assert failed.status_code == 500 and "logit_bias" in failed.json()["error"]["message"]


def test_others_are_answered_while_a_grammar_is_compiled(http: httpx.Client) -> None:
    """The stream goes on from when the heavy one is sent until it is refused."""
    body: dict[str, Any] = {"model": "default", "messages": SAY, "temperature": 0}
    refused: list[int] = []

    def heavy() -> None:
        form = {"type": "regex", "regex": OPTIONAL + "b"}
        refused.append(http.post("/v1/chat/completions", json={**body, "response_format": form}).status_code)

    thread = threading.Thread(target=heavy)
    endless = {"stream": True, "max_tokens": 7000, "logit_bias": {"761": -100, "759": -100}}
    meanwhile = 0
    with http.stream("POST", "/v1/chat/completions", json={**body, **endless}) as stream:
        for _ in events(stream.iter_lines()):
            if not thread.ident:
                thread.start()
            elif not refused:
                meanwhile += 1
            else:
                break
    thread.join()
    assert refused == [400] and meanwhile > 20
