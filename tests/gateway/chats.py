"""Chats over HTTP, with or without a stream: the same choices come of both."""

from typing import Any

import httpx

from tests.support.streams import events

SUM: list[Any] = [{"role": "user", "content": "What is 3 + 4?"}]


def ask(http: httpx.Client, *, stream: bool, messages: list[Any] = SUM, **fields: Any) -> list[dict[str, Any]]:
    """The choices of a chat, a stream's put together as the SDKs do."""
    body = {"model": "default", "temperature": 0, "messages": messages, "stream": stream, **fields}
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    if not stream:
        return list(answer.json()["choices"])
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks_of(answer.text):
        for part in chunk["choices"]:
            choice = choices.setdefault(part["index"], {"message": {}, "logprobs": None})
            _add(choice["message"], part["delta"])
            if part.get("logprobs"):
                choice["logprobs"] = choice["logprobs"] or {"content": []}
                choice["logprobs"]["content"] += part["logprobs"]["content"]
            if part["finish_reason"]:
                assert "finish_reason" not in choice
                choice["finish_reason"] = part["finish_reason"]
    return [choices[index] for index in sorted(choices)]


def chunks_of(text: str) -> list[Any]:
    """All of a stream that ended well."""
    *chunks, last = events(iter(text.splitlines()))
    assert last == "[DONE]"
    return chunks


def _add(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if name == "tool_calls":
            calls = message.setdefault("tool_calls", [])
            for each in value:
                if each["index"] == len(calls):
                    calls.append({"id": each["id"], "type": each["type"], "function": dict(each["function"])})
                else:
                    calls[each["index"]]["function"]["arguments"] += each["function"]["arguments"]
        elif isinstance(value, str) and name != "role":
            message[name] = message.get(name, "") + value
        elif isinstance(value, dict):
            _add(message.setdefault(name, {}), value)
