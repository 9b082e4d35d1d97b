"""The API as OpenAI's own SDK and plain HTTP clients see it, from a whole Atelier with a real model."""

import asyncio
import json
from typing import Any
from urllib.parse import quote

import httpx
import openai
import pytest

from tests.support.server import Server

CHAT = "/v1/chat/completions"
MESSAGES: list[Any] = [{"role": "user", "content": "Hello!"}]
SAME_TOKEN_FOR_EVER = {"300": 100}
"""A bias that no end mark beats, so that any model goes on until it is told to stop."""


@pytest.fixture
def endless() -> dict[str, Any]:
    """Says a few tokens at random: a text that repeats itself is ended (--repetition-policy)."""
    few = {str(token): 100 for token in range(300, 332)}
    return {"model": "default", "messages": MESSAGES, "logit_bias": few, "temperature": 2, "max_tokens": 8000}


@pytest.mark.parametrize("limit", [{"max_tokens": 8}, {"max_completion_tokens": 8}])
def test_a_chat_through_the_sdk(server: Server, sdk: openai.OpenAI, limit: dict[str, int]) -> None:
    before = len(server.ledger())
    done = sdk.chat.completions.create(model="default", messages=MESSAGES, logit_bias=SAME_TOKEN_FOR_EVER, **limit)  # type: ignore[call-overload]
    assert done.object == "chat.completion" and done.id.startswith("chatcmpl-")
    assert done.model == sdk.models.list().data[0].id
    assert done.choices[0].finish_reason == "length"
    assert done.choices[0].message.role == "assistant" and done.choices[0].message.content
    assert done.usage.completion_tokens == 8
    [row] = server.ledger()[before:]
    assert row["state"] == "settled" and row["outcome"] == "length" and not row["stream"]
    assert row["prompt_tokens"] == done.usage.prompt_tokens > 0
    assert row["completion_tokens"] == 8
    assert row["engine_seconds"] > 0 and row["duration_ms"] >= row["ttft_ms"] > 0


def test_a_stream_through_the_sdk_says_the_same_as_a_whole_answer(server: Server, sdk: openai.OpenAI) -> None:
    before = len(server.ledger())
    fields: dict[str, Any] = {"model": "default", "messages": MESSAGES, "temperature": 0, "max_tokens": 30}
    whole = sdk.chat.completions.create(**fields)
    chunks = list(sdk.chat.completions.create(**fields, stream=True, stream_options={"include_usage": True}))
    *texts, usage = chunks
    assert texts[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in texts) == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in texts if chunk.choices[0].finish_reason] == [
        whole.choices[0].finish_reason
    ]
    assert usage.choices == []
    # The second one may have found the first one's prompt in a cache.
    for counted in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert getattr(usage.usage, counted) == getattr(whole.usage, counted)
    assert usage.usage.completion_tokens_details.reasoning_tokens == 0
    rows = server.ledger()[before:]
    assert [row["completion_tokens"] for row in rows] == [whole.usage.completion_tokens] * 2
    assert [bool(row["stream"]) for row in rows] == [False, True]


def test_the_bytes_of_a_stream(http: httpx.Client) -> None:
    body = {"model": "default", "messages": MESSAGES, "stream": True, "max_tokens": 5}
    with http.stream("POST", CHAT, json=body) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert raw.endswith(b"data: [DONE]\n\n")
    *blocks, end = raw.split(b"\n\n")
    assert end == b""
    assert all(block.startswith((b"data: ", b": ")) and b"\n" not in block for block in blocks)
    assert b"usage" not in raw


def test_the_same_seed_says_the_same_and_others_differ(sdk: openai.OpenAI) -> None:
    def say(seed: int) -> str | None:
        done = sdk.chat.completions.create(
            model="default", messages=MESSAGES, seed=seed, temperature=2, max_tokens=40, extra_body={"top_k": 0}
        )
        return done.choices[0].message.content

    said = [say(1), say(1), say(2), say(-(2**63)), say(2**63 - 1)]
    assert said[0] == said[1]
    assert len(set(said)) > 1


def test_a_stop_string_is_cut_off(sdk: openai.OpenAI) -> None:
    fields: dict[str, Any] = {"model": "default", "prompt": "Count", "temperature": 0, "max_tokens": 20}
    fields["logit_bias"] = SAME_TOKEN_FOR_EVER
    text = sdk.completions.create(**fields).choices[0].text
    stop = text[5:8]
    cut = sdk.completions.create(**fields, stop=stop)
    assert cut.choices[0].text == text[: text.index(stop)]
    assert cut.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("prompt", ["Once upon", ["Once upon"], [5, 6, 7], [[5, 6, 7]]])
@pytest.mark.parametrize("stream", [False, True])
def test_plain_completions_through_the_sdk(sdk: openai.OpenAI, prompt: Any, stream: bool) -> None:
    done = sdk.completions.create(model="default", prompt=prompt, max_tokens=4, stream=stream, logit_bias={"300": 100})
    choices = [chunk.choices[0] for chunk in done] if stream else done.choices  # type: ignore[union-attr]
    assert choices[-1].finish_reason == "length"
    assert "".join(choice.text for choice in choices)


def test_models_through_the_sdk(server: Server, sdk: openai.OpenAI, http: httpx.Client) -> None:
    first, *_ = sdk.models.list().data
    assert first.object == "model" and first.created > 1_600_000_000 and first.owned_by == "atelier"
    extra: dict[str, Any] = first.model_extra or {}
    assert extra["state"] == "ready" and extra["context_length"] > 0 and "text" in extra["modalities"]
    assert sdk.models.retrieve(first.id) == first
    assert sdk.models.retrieve("default") == first
    for name in ("no/such", "no%2Fsuch", quote("no/such model\n", safe=""), "é", "a" * 3000):
        missing = http.get(f"/v1/models/{name}")
        assert missing.status_code == 404
        assert missing.json()["error"]["code"] == "model_not_found"


def test_both_ways_to_send_a_key(server: Server) -> None:
    for headers in ({"authorization": f"bearer  {server.key}"}, {"x-api-key": server.key}):
        assert httpx.get(f"{server.base_url}/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer sk-atelier-" + "0" * 46},
        {"authorization": "Basic QTpC"},
        {"x-api-key": "ä"},
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/models"), ("GET", "/v1/models/x"), ("POST", CHAT)])
def test_without_a_valid_key(server: Server, headers: dict[str, str], method: str, path: str) -> None:
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = httpx.request(method, server.base_url + path, headers=raw, content=b"{")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert error_of(answer)["code"] == "invalid_api_key"


def error_of(answer: httpx.Response) -> dict[str, Any]:
    """The error object of an answer that has everything each of them must have."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    assert set(answer.json()) == {"error"}
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "default", "messages": MESSAGES, **fields}).encode()


TABLE: list[tuple[str, str, bytes, int, str | None, str | None]] = [
    ("POST", CHAT, b"", 400, None, None),
    ("POST", CHAT, b"{", 400, None, None),
    ("POST", CHAT, b"[]", 400, None, None),
    ("POST", CHAT, b"\xff\xfe", 400, None, None),
    ("POST", CHAT, b"[" * 20_000, 400, None, None),
    ("POST", CHAT, chat(x=1).replace(b"1", b"[" * 20_000 + b"]" * 20_000), 400, None, None),
    ("POST", CHAT, chat(messages="\ud800"), 400, None, None),
    ("POST", CHAT, b'{"model": "default"}', 400, None, "messages"),
    ("POST", CHAT, chat(messages=[]), 400, None, "messages"),
    ("POST", CHAT, chat(messages=[{"role": "user", "content": 5}]), 400, None, "messages[0].content"),
    ("POST", CHAT, chat(temperature=3), 400, None, "temperature"),
    ("POST", CHAT, chat(tools=[{"type": "function"}]), 400, None, "tools[0].function"),
    ("POST", CHAT, chat(n=17), 400, None, "n"),
    ("POST", CHAT, chat(response_format={"type": "json_schema", "json_schema": {"schema": {"type": "odd"}}}), 400,
     "invalid_format", "response_format"),
    ("POST", CHAT, chat(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), 400, None,
     "messages[0].content[0].image_url"),
    ("POST", CHAT, chat(max_tokens=10_000_000), 400, "context_length_exceeded", "messages"),
    ("POST", CHAT, chat(messages=[{"role": "user", "content": "word " * 20_000}]), 400, "context_length_exceeded",
     "messages"),
    ("POST", CHAT, chat(messages=[{"role": "user", "content": "word " * 20_000}], stream=True), 400,
     "context_length_exceeded", "messages"),
    ("POST", CHAT, chat(model="no-such-model"), 404, "model_not_found", "model"),
    ("POST", "/v1/completions", json.dumps({"model": "default", "prompt": [2**31 - 1]}).encode(), 400,
     "invalid_prompt", "prompt"),
    ("POST", CHAT, chat(logit_bias={"2147483647": 5}), 400, "invalid_prompt", "logit_bias"),
    ("POST", CHAT, b" " * (65 * 1024 * 1024), 413, "request_too_large", None),
    ("GET", "/v1", b"", 404, "unknown_url", None),
    ("GET", "/v1/", b"", 404, "unknown_url", None),
    ("GET", "/v1/nothing/here", b"", 404, "unknown_url", None),
    ("POST", CHAT + "/", chat(), 404, "unknown_url", None),
    ("GET", "/health/nothing", b"", 404, "unknown_url", None),
    ("GET", CHAT, b"", 405, "method_not_allowed", None),
    ("PUT", CHAT, chat(), 405, "method_not_allowed", None),
    ("POST", "/v1/models", b"{}", 405, "method_not_allowed", None),
    ("DELETE", "/v1/models/x", b"", 405, "method_not_allowed", None),
    ("POST", "/health", b"", 405, "method_not_allowed", None),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "status", "code", "param"), TABLE, ids=range(len(TABLE)))
def test_every_error_is_the_documented_one(
    http: httpx.Client, method: str, path: str, body: bytes, status: int, code: str | None, param: str | None
) -> None:
    answer = http.request(method, path, content=body)
    assert answer.status_code == status, answer.text
    error = error_of(answer)
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)
    if status == 405:
        assert answer.headers["allow"]


def test_a_body_without_a_length_is_counted(http: httpx.Client) -> None:
    answer = http.post(CHAT, content=(b" " * 1024 * 1024 for _ in range(66)))
    assert answer.status_code == 413
    assert error_of(answer)["code"] == "request_too_large"


def test_another_host_name_is_refused(http: httpx.Client) -> None:
    for path in ("/v1/models", "/health"):
        answer = http.get(path, headers={"host": "rebound.example"})
        assert answer.status_code == 400
        assert "ATELIER_ALLOWED_HOSTS" in error_of(answer)["message"]


def test_head_and_options(http: httpx.Client) -> None:
    for path in ("/health", "/v1/models"):
        head = http.head(path)
        assert head.status_code == 200 and head.content == b""
    assert http.head(CHAT).status_code == 405
    options = http.options(CHAT)
    assert options.status_code == 204 and "POST" in options.headers["allow"]


def test_every_answer_has_its_headers(http: httpx.Client) -> None:
    answers = [
        http.get("/v1/models"),
        http.get("/v1/nothing"),
        http.get("/health"),
        http.post(CHAT, content=chat(max_tokens=3)),
        http.post(CHAT, content=chat(max_tokens=3, stream=True)),
    ]
    for answer in answers:
        assert answer.headers["x-request-id"].startswith("req_")
        for name in ("openai-processing-ms", "x-queue-ms", "x-overhead-ms"):
            assert float(answer.headers[name]) >= 0
    kept = http.get("/v1/models", headers={"x-request-id": "my-own.1"})
    assert kept.headers["x-request-id"] == "my-own.1"


def test_the_request_id_is_found_in_the_ledger(server: Server, http: httpx.Client) -> None:
    before = len(server.ledger())
    ours = http.post(CHAT, content=chat(max_tokens=1)).headers["x-request-id"]
    for _ in range(2):
        http.post(CHAT, content=chat(max_tokens=1), headers={"x-request-id": "theirs"})
    rows = [row["request_id"] for row in server.ledger()[before:]]
    assert rows[0] == ours
    assert all(row.startswith("theirs.") for row in rows[1:])


def test_what_is_ignored_is_said(http: httpx.Client) -> None:
    answer = http.post(CHAT, content=chat(max_tokens=1, verbosity="low", made_up=[1]))
    assert answer.headers["x-ignored-parameters"] == "verbosity, made_up"
    answer = http.post(CHAT, content=chat(max_tokens=1, user="ada", metadata={"job": "7"}))
    assert answer.headers["x-ignored-parameters"] == "user, metadata"
    assert "x-ignored-parameters" not in http.post(CHAT, content=chat(max_tokens=1)).headers


def test_health_is_open(server: Server) -> None:
    assert httpx.get(f"{server.base_url}/health").json() == {"status": "healthy"}
    ready = httpx.get(f"{server.base_url}/health/ready")
    assert ready.status_code == 200 and ready.json()["status"] == "ready"


@pytest.mark.parametrize("stream", [False, True])
def test_going_away_stops_the_engine_and_is_charged_once(
    server: Server, http: httpx.Client, endless: dict[str, Any], stream: bool
) -> None:
    before = len(server.ledger())
    with server.client() as client:
        if stream:
            with client.stream("POST", CHAT, json={**endless, "stream": True}) as answer:
                pieces = answer.iter_raw()
                received = b"".join(next(pieces) for _ in range(5))
            assert b"data: " in received
        else:
            with pytest.raises(httpx.ReadTimeout):
                client.post(CHAT, json=endless, timeout=0.5)
    [row] = server.settled(before, 1)
    assert row["outcome"] == "disconnected"
    assert row["prompt_tokens"] > 0
    assert 0 < row["completion_tokens"] < 8000
    # The engine is free again: nothing of the abandoned request still runs.
    assert http.post(CHAT, content=chat(max_tokens=2)).status_code == 200


async def test_many_streams_at_once_get_their_own_answers(server: Server) -> None:
    before = len(server.ledger())
    async with openai.AsyncOpenAI(base_url=f"{server.base_url}/v1", api_key=server.key, max_retries=0) as sdk:

        async def one(at: int) -> tuple[str, int]:
            stream = await sdk.chat.completions.create(
                model="default", messages=MESSAGES, stream=True, max_tokens=5 + at, temperature=0,
                logit_bias={str(300 + at): 100}, stream_options={"include_usage": True},
            )  # fmt: skip
            text, tokens = "", 0
            async for chunk in stream:
                text += "".join(choice.delta.content or "" for choice in chunk.choices)
                tokens += chunk.usage.completion_tokens if chunk.usage else 0
            return text, tokens

        answers = await asyncio.gather(*(one(at) for at in range(16)))
    assert [tokens for _, tokens in answers] == [5 + at for at in range(16)]
    # Each repeats its own token and no one else's.
    for at, (text, tokens) in enumerate(answers):
        assert text == text[: len(text) // tokens] * tokens, at
    rows = server.settled(before, 16)
    assert sorted(row["completion_tokens"] for row in rows) == [5 + at for at in range(16)]


def test_the_sdk_gets_its_own_exceptions(server: Server, sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        sdk.chat.completions.create(model="nope", messages=MESSAGES)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as bad:
        sdk.chat.completions.create(model="default", messages=MESSAGES, temperature=9)
    assert bad.value.param == "temperature"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{server.base_url}/v1", api_key="wrong").models.list()


def test_neither_keys_nor_prompts_are_logged(server: Server, http: httpx.Client) -> None:
    secret = "xylophone-quartz"
    http.post(CHAT, content=chat(max_tokens=1, messages=[{"role": "user", "content": secret}]))
    http.post(CHAT, content=chat(messages=[{"role": "user", "content": [secret]}]))
    http.post(CHAT, content=b'{"messages": "' + secret.encode())
    httpx.get(f"{server.base_url}/v1/models", headers={"x-api-key": server.key[:-1] + "!"})
    gateway = [line for line in server.output.splitlines() if line.startswith("[gateway]")]
    assert secret not in server.output
    assert not [line for line in gateway if server.key[11:] in line]


def test_all_that_rubbish_did_no_harm(server: Server, sdk: openai.OpenAI) -> None:
    assert sdk.chat.completions.create(model="default", messages=MESSAGES, max_tokens=3).choices
    gateway = [line for line in server.output.splitlines() if line.startswith("[gateway]")]
    assert not [line for line in gateway if "crashed" in line or "Traceback" in line]
    assert all(row["state"] != "running" for row in server.settled(0, 0))


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_text_that_goes_round_in_circles_is_ended_and_says_why(http: Any, path: str, stream: bool) -> None:
    asked = {"messages": MESSAGES} if "chat" in path else {"prompt": "Hello"}
    request = {"model": "default", **asked, "logit_bias": SAME_TOKEN_FOR_EVER, "max_tokens": 2000, "stream": stream}
    response = http.post(f"/v1/{path}", json=request)
    data = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: {")]
    choice = json.loads(data[-1] if stream else response.text)["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert choice["stop_reason"] == "repetition_detected" and choice["stop_reason_detail"] == "single_token_run"
