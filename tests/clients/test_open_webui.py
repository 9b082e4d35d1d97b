"""The requests that Open WebUI sends, and what it reads of the answers.

Recorded from its backend (routers/openai.py and tasks.py, utils/payload.py and middleware.py) and its Chat.svelte. It
is a web application with a database of its own and not a library, so its requests are repeated here instead.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.clients import cells
from tests.support.server import Server
from tests.support.streams import events

SYSTEM = {"role": "system", "content": "You are kind.\nUser Context:\n\nToday is 2026-11-21."}
WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "The city"}},
            "required": ["city"],
        },
    },
}


@pytest.fixture
def webui(server: Server) -> Iterator[httpx.Client]:
    """With the headers that it sends when it forwards who its user is."""
    headers = {
        "Content-Type": "application/json",
        "X-OpenWebUI-User-Name": "Ada%20L",
        "X-OpenWebUI-User-Id": "0b7c",
        "X-OpenWebUI-User-Email": "ada@example.com",
        "X-OpenWebUI-User-Role": "user",
        "X-OpenWebUI-Chat-Id": "5f1e",
    }
    with server.client() as client:
        client.headers.update(headers)
        yield client


def streamed(webui: httpx.Client, messages: list[Any], **fields: Any) -> dict[str, Any]:
    """A message as its middleware puts it together from the deltas: text, thoughts, calls by their index, usage."""
    body = {"stream": True, "model": "atelier-tiny", "messages": messages, **fields}
    seen: dict[str, Any] = {"content": "", "reasoning": "", "tool_calls": [], "usage": None}
    with webui.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        seen["ignored"] = answer.headers.get("x-ignored-parameters")
        for event in events(answer.iter_lines()):
            if event == "[DONE]":
                return seen
            seen["usage"] = event.get("usage") or seen["usage"]
            for choice in event["choices"]:
                _add(seen, choice["delta"])
    raise AssertionError("the stream ended without [DONE]")


def _add(seen: dict[str, Any], delta: dict[str, Any]) -> None:
    seen["content"] += delta.get("content") or ""
    seen["reasoning"] += delta.get("reasoning_content") or delta.get("reasoning") or delta.get("thinking") or ""
    for piece in delta.get("tool_calls") or []:
        known = next((call for call in seen["tool_calls"] if call["index"] == piece["index"]), None)
        if known is None:
            seen["tool_calls"].append(piece)
        else:
            known["function"]["arguments"] += piece["function"].get("arguments") or ""


def test_it_lists_the_models(webui: httpx.Client) -> None:
    listed = webui.get("/v1/models").json()
    assert listed["object"] == "list"
    [tiny] = [model for model in listed["data"] if model["id"] == "atelier-tiny"]
    assert tiny["object"] == "model" and tiny["owned_by"]


def test_a_chat_streams_with_its_usage(webui: httpx.Client) -> None:
    """Its user's question, after its system prompt. `stream_options` comes where usage is switched on for the model."""
    saw = streamed(webui, [SYSTEM, cells.user(cells.QUESTION)], stream_options={"include_usage": True}, temperature=0.0)
    assert saw["content"] == "3 + 4 = 7." and saw["ignored"] is None
    assert saw["usage"]["prompt_tokens"] > 0 and saw["usage"]["completion_tokens"] > 0
    assert saw["usage"]["total_tokens"] == saw["usage"]["prompt_tokens"] + saw["usage"]["completion_tokens"]


def test_a_chat_with_every_setting_of_its_panel(webui: httpx.Client) -> None:
    """It passes on what its panel for advanced parameters holds, also what only Ollama knows: that is named."""
    saw = streamed(
        webui, [cells.user(cells.QUESTION)], temperature=0.0, top_p=0.9, top_k=40, min_p=0.0, max_tokens=128,
        frequency_penalty=0.0, presence_penalty=0.0, reasoning_effort="none", seed=42, stop=["\n\n"],
        logit_bias={"300": 1}, response_format={"type": "text"}, num_ctx=2048, keep_alive="5m", mirostat=0,
    )  # fmt: skip
    assert saw["content"] == "3 + 4 = 7."
    assert sorted(saw["ignored"].replace(" ", "").split(",")) == ["keep_alive", "mirostat", "num_ctx"]


def test_parts_of_text(webui: httpx.Client) -> None:
    """A message whose files have become text."""
    parts = [{"type": "text", "text": "What is"}, {"type": "text", "text": " 3 + 4?"}]
    assert streamed(webui, [{"role": "user", "content": parts}], temperature=0.0)["content"] == "3 + 4 = 7."


TASKS = {
    "title": ("Give the chat a title of three to five words.", '{ "title": "your title" }'),
    "tags": ("Name one to three tags for the chat.", '{ "tags": ["tag1", "tag2"] }'),
    "follow-ups": ("Suggest what the user may ask next.", '{ "follow_ups": ["question 1?"] }'),
}


@pytest.mark.parametrize("task", TASKS)
def test_its_tasks_after_a_chat(webui: httpx.Client, task: str) -> None:
    """Titles, tags and follow-ups: not streamed, one long message, a JSON object wanted in words alone."""
    wanted, form = TASKS[task]
    history = f"<chat_history>\nUSER: {cells.QUESTION}\nASSISTANT: 3 + 4 = 7.\n</chat_history>"
    content = f"### Task:\n{wanted}\n### Output:\nJSON format: {form}\n### Chat History:\n{history}"
    limit = {"max_completion_tokens": 1000} if task == "title" else {}
    body = {"model": "atelier-tiny", "messages": [cells.user(content)], "stream": False, **limit}
    answer = webui.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200 and "x-ignored-parameters" not in answer.headers
    [choice] = answer.json()["choices"]
    assert choice["message"]["content"] and choice["finish_reason"] in ("stop", "length")


def test_its_title_as_json_where_the_admin_asks_for_it(webui: httpx.Client) -> None:
    """`response_format` among the model's parameters: then even a tiny model's title can be read."""
    body = {
        "model": "atelier-tiny", "messages": [cells.user("Write the title of this chat as JSON with title.")],
        "stream": False, "max_completion_tokens": 1000, "temperature": 0.0,
        "response_format": {"type": "json_object"},
    }  # fmt: skip
    [choice] = webui.post("/v1/chat/completions", json=body).json()["choices"]
    assert isinstance(json.loads(choice["message"]["content"]), dict)


def test_thoughts_are_shown_and_sent_back(webui: httpx.Client) -> None:
    """It shows the first of three fields that it finds. Later turns carry the thoughts in the way that is set for the
    model: as tags in the text, or in a field."""
    saw = streamed(webui, [cells.user(cells.QUESTION)], temperature=0.0, reasoning_effort="high")
    assert saw["content"] == "3 + 4 = 7." and "7" in saw["reasoning"]
    tagged = {"role": "assistant", "content": f"<think>{saw['reasoning']}</think>\n{saw['content']}"}
    fielded = {"role": "assistant", "content": saw["content"], "reasoning_content": saw["reasoning"]}
    for turn in (tagged, fielded):
        messages = [cells.user(cells.QUESTION), turn, cells.user("What is 2 + 6?")]
        again = streamed(webui, messages, temperature=0.0)
        assert again["content"] == "2 + 6 = 8." and again["ignored"] is None


def test_native_tool_calls(webui: httpx.Client) -> None:
    """It runs the tool and sends back the calls as it has put them together, their index included."""
    messages: list[Any] = [cells.user(cells.WEATHER_QUESTION)]
    fields: dict[str, Any] = {"tools": [WEATHER_TOOL], "temperature": 0.0, "stream_options": {"include_usage": True}}
    saw = streamed(webui, messages, **fields)
    [call] = saw["tool_calls"]
    assert call["index"] == 0 and call["id"] and call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}
    messages += [
        {"role": "assistant", "content": saw["content"], "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": cells.WEATHER},
    ]
    answered = streamed(webui, messages, **fields)
    assert cells.WEATHER in answered["content"] and not answered["tool_calls"]


def test_errors_say_what_it_shows(webui: httpx.Client) -> None:
    """It shows `error.message` to its user, also of a request that was to be streamed."""
    body = {"stream": True, "model": "gone", "messages": [cells.user("Hello")]}
    answer = webui.post("/v1/chat/completions", json=body)
    assert answer.status_code == 404 and answer.headers["content-type"] == "application/json"
    assert "'gone'" in answer.json()["error"]["message"]
