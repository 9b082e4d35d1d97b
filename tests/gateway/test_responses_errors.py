"""What `/v1/responses` refuses, and which field it names."""

import json
from typing import Any

import httpx
import pytest

from tests.support.server import Server

RESPONSES = "/v1/responses"
FUNCTION = {"type": "function", "name": "f"}
SCHEMA = {"type": "json_schema", "name": "answer", "schema": {"type": "object"}}


def item(**fields: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": "Hello!"}, fields]}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"input": None}, "input"),
    ({"input": 5}, "input"),
    ({"input": []}, "input"),
    (item(role="user"), "input[1].content"),
    (item(role="tool", content="x"), "input[1].role"),
    (item(content="x"), "input[1].role"),
    (item(role="user", content=[{"type": "text", "text": "x"}]), "input[1].content[0].type"),
    (item(role="user", content=[{"type": "input_text"}]), "input[1].content[0].text"),
    (item(role="user", content=[{"type": "input_image"}]), "input[1].content[0].image_url"),
    (item(role="user", content=[{"type": "input_image", "image_url": "x"}]), "input[1].content[0].image_url"),
    (item(role="user", content=[{"type": "input_image", "file_id": "file-1"}]), "input[1].content[0].file_id"),
    (
        item(
            role="user", content=[{"type": "input_image", "image_url": "data:image/png;base64,QUJD", "detail": "best"}]
        ),
        "input[1].content[0].detail",
    ),
    (item(role="system", content=[{"type": "input_image", "image_url": "x"}]), "input[1].content[0].type"),
    (item(role="assistant", content=[{"type": "input_image", "image_url": "x"}]), "input[1].content[0].type"),
    (item(role="user", content=[{"type": "input_file", "file_id": "file-1"}]), "input[1].content[0]"),
    (item(role="assistant", content=[{"type": "refusal"}]), "input[1].content[0].refusal"),
    (item(type="reasoning", summary=[{"type": "x", "text": "x"}]), "input[1].summary[0].type"),
    (item(type="reasoning", encrypted_content="gAAAAABo"), "input[1].encrypted_content"),
    (item(type="reasoning", encrypted_content=""), "input[1].encrypted_content"),
    (item(type="reasoning", content="x"), "input[1].content"),
    (item(type="function_call", name="f", arguments="{}"), "input[1].call_id"),
    (item(type="function_call", call_id="c", arguments="{}"), "input[1].name"),
    (item(type="function_call_output", call_id="c"), "input[1].output"),
    (item(type="function_call_output", output="x"), "input[1].call_id"),
    (item(type="function_call_output", call_id="c", output="x"), "input[1].call_id"),
    (item(type="web_search_call", id="ws_1"), "input[1].type"),
    (item(type="item_reference"), "input[1].id"),
    (item(type="item_reference", id="msg_1"), "input[1].id"),
    (item(id="msg_abc_1"), "input[1].id"),
    ({"temperature": 3}, "temperature"),
    ({"top_p": 2}, "top_p"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"max_tokens": 5}, "max_tokens"),
    ({"n": 2}, "n"),
    ({"instructions": 5}, "instructions"),
    ({"metadata": {"a": 5}}, "metadata"),
    ({"metadata": {"a": "x" * 513}}, "metadata"),
    ({"stream_options": {"include_obfuscation": False}}, "stream_options"),
    ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tools": [FUNCTION, {"type": "mcp", "server_label": "x"}]}, "tools[1].type"),
    ({"tools": [{"type": "file_search", "vector_store_ids": []}]}, "tools[0].type"),
    ({"tools": [{"type": "code_interpreter", "container": "x"}]}, "tools[0].type"),
    ({"tools": [{"type": "image_generation"}]}, "tools[0].type"),
    ({"tools": [{"type": "computer_use_preview"}]}, "tools[0].type"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools[0].name"),
    ({"tools": [{"type": "function", "name": "f g"}]}, "tools[0].name"),
    ({"tools": [FUNCTION, FUNCTION]}, "tools"),
    ({"tool_choice": "sometimes"}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
    ({"tool_choice": {"type": "function", "name": "g"}, "tools": [FUNCTION]}, "tool_choice"),
    ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
    ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
    ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
    ({"text": {"format": {**SCHEMA, "schema": {"type": "nothing"}}}}, "text.format"),
    ({"reasoning": {"effort": "some"}}, "reasoning.effort"),
    ({"reasoning": {"summary": "long"}}, "reasoning.summary"),
    ({"include": ["reasoning.encrypted_content", "file_search_call.results"]}, "include[1]"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"top_logprobs": 21}, "top_logprobs"),
    ({"truncation": "auto"}, "truncation"),
    ({"background": True}, "background"),
    ({"max_tool_calls": 3}, "max_tool_calls"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ({"service_tier": "sooner"}, "service_tier"),
    ({"chat_template_kwargs": {"tools": []}}, "chat_template_kwargs.tools"),
]


@pytest.mark.parametrize(("fields", "param"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_field_that_is_refused_is_named(server: Server, fields: dict[str, Any], param: str) -> None:
    with server.client() as http:
        answer = http.post(RESPONSES, json={"model": "default", "input": "Hello!", **fields})
    error = error_of(answer, 400)
    assert error["param"] == param
    assert param.split("[")[0] in error["message"]


def error_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error" and error["message"]
    return error


def test_nulls_are_the_defaults(server: Server) -> None:
    names = {field for fields, _ in REFUSED for field in fields} - {"input"}
    with server.client() as http:
        answer = http.post(RESPONSES, json={"model": "default", "input": "Hello!", **dict.fromkeys(names)})
    assert answer.status_code == 200 and "x-ignored-parameters" not in answer.headers


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "fields", [{"max_output_tokens": 10_000_000}, {"input": "word " * 20_000}, {"instructions": "word " * 20_000}]
)
def test_too_much_for_the_context(server: Server, fields: dict[str, Any], stream: bool) -> None:
    with server.client() as http:
        answer = http.post(RESPONSES, json={"model": "default", "input": "Hello!", "stream": stream, **fields})
    error = error_of(answer, 400)
    assert (error["code"], error["param"]) == ("context_length_exceeded", "input")
    assert " max_tokens" not in error["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "param"),
    [
        ("POST", "", 400, None, None),
        ("GET", "", 405, "method_not_allowed", None),
        ("POST", "/resp_x", 405, "method_not_allowed", None),
        ("GET", "/resp_x", 404, "response_not_found", None),
        ("HEAD", "/resp_x", 404, None, None),
        ("GET", "/%00", 404, "response_not_found", None),
        ("GET", "/r%C3%A9sp", 404, "response_not_found", None),
        ("DELETE", "/resp_x", 404, "response_not_found", None),
        ("GET", "/resp_x/input_items", 404, "response_not_found", None),
        ("GET", "/resp_x/input_items?limit=0", 400, None, "limit"),
        ("GET", "/resp_x/input_items?limit=101", 400, None, "limit"),
        ("GET", "/resp_x/input_items?limit=x", 400, None, "limit"),
        ("GET", "/resp_x/input_items?order=up", 400, None, "order"),
        ("GET", "/resp_x/input_items?include[]=x", 400, None, "include"),
        ("GET", "/resp_x?stream=true", 400, None, "stream"),
        ("GET", "/resp_x?a=%FF", 400, None, None),
        ("POST", "/resp_x/cancel", 404, "response_not_found", None),
        ("GET", "/resp_x/cancel", 405, "method_not_allowed", None),
        ("GET", "/resp_x/output_items", 404, "unknown_url", None),
    ],
)
def test_paths(server: Server, method: str, path: str, status: int, code: str | None, param: str | None) -> None:
    with server.client() as http:
        answer = http.request(method, RESPONSES + path, content=b"{")
    if method == "HEAD":
        assert answer.status_code == status and answer.content == b""
        return
    error = error_of(answer, status)
    assert (error["code"], error["param"]) == (code, param)


def test_an_item_that_is_not_in_the_list(server: Server) -> None:
    with server.client() as http:
        made = http.post(RESPONSES, json={"model": "default", "input": "Hello!"}).json()
        error = error_of(http.get(f"{RESPONSES}/{made['id']}/input_items?after=msg_x"), 400)
        assert error["param"] == "after"


@pytest.mark.parametrize("id", ["", "resp_x", "\0", "x" * 5000, "résp"])
def test_a_previous_response_that_never_was(server: Server, id: str) -> None:
    with server.client() as http:
        body = json.dumps({"model": "default", "input": "Hello!", "previous_response_id": id})
        error = error_of(http.post(RESPONSES, content=body), 400)
    assert (error["code"], error["param"]) == ("previous_response_not_found", "previous_response_id")


def test_without_a_key(server: Server) -> None:
    for method, path in [("POST", ""), ("GET", "/resp_x"), ("DELETE", "/resp_x"), ("POST", "/resp_x/cancel")]:
        answer = httpx.request(method, server.base_url + RESPONSES + path, content=b"{}")
        assert error_of(answer, 401)["code"] == "invalid_api_key"
