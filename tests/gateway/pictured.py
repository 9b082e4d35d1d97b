"""A question about pictures, as each dialect asks it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

SEES, READS = "atelier-tiny-vl", "atelier-tiny"
COLOUR, SHAPE = "What colour is it?", "What shape is it?"


@dataclass(frozen=True)
class Dialect:
    path: str
    body: Callable[..., dict[str, Any]]
    """(question, *urls)"""
    field: Callable[[int, str], str]
    """Where the picture of this number is, by its URL."""
    text: Callable[[Any], str]
    usage: Callable[[Any], tuple[int, int]]
    """Tokens of the prompt, and how many of them were cached."""
    refusal: Callable[[Any], tuple[str | None, str | None]]
    """Code and param of an error; None where the dialect has no such field."""

    def ask(self, http: httpx.Client, question: str, *urls: str, **fields: Any) -> Any:
        """What it is answered. Raises for errors."""
        answer = http.post(self.path, json={**self.body(question, *urls), **fields})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def say(self, http: httpx.Client, question: str, *urls: str, **fields: Any) -> str:
        return self.text(self.ask(http, question, *urls, **fields)).strip()


def _chat(question: str, *urls: str) -> dict[str, Any]:
    shown = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content = [*shown, {"type": "text", "text": question}]
    return {"model": SEES, "messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 32}


def _responses(question: str, *urls: str) -> dict[str, Any]:
    shown = [{"type": "input_image", "image_url": url} for url in urls]
    content = [*shown, {"type": "input_text", "text": question}]
    return {"model": SEES, "input": [{"role": "user", "content": content}], "temperature": 0, "max_output_tokens": 32}


def _messages(question: str, *urls: str) -> dict[str, Any]:
    content = [*map(image_block, urls), {"type": "text", "text": question}]
    return {"model": SEES, "messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 32}


def image_block(url: str) -> dict[str, Any]:
    """Anthropic's."""
    header, comma, data = url.partition(";base64,")
    if not comma:
        return {"type": "image", "source": {"type": "url", "url": url}}
    return {"type": "image", "source": {"type": "base64", "media_type": header.removeprefix("data:"), "data": data}}


def _anthropics_usage(answer: Any) -> tuple[int, int]:
    usage = answer["usage"]
    return usage["input_tokens"] + usage["cache_read_input_tokens"], usage["cache_read_input_tokens"]


DIALECTS = {
    "chat": Dialect(
        "/v1/chat/completions",
        _chat,
        lambda at, url: f"messages[0].content[{at}].image_url.url",
        lambda answer: answer["choices"][0]["message"]["content"],
        lambda answer: (
            answer["usage"]["prompt_tokens"],
            answer["usage"]["prompt_tokens_details"]["cached_tokens"],
        ),
        lambda body: (body["error"]["code"], body["error"]["param"]),
    ),
    "responses": Dialect(
        "/v1/responses",
        _responses,
        lambda at, url: f"input[0].content[{at}].image_url",
        lambda answer: answer["output"][-1]["content"][0]["text"],
        lambda answer: (answer["usage"]["input_tokens"], answer["usage"]["input_tokens_details"]["cached_tokens"]),
        lambda body: (body["error"]["code"], body["error"]["param"]),
    ),
    "messages": Dialect(
        "/v1/messages",
        _messages,
        lambda at, url: f"messages[0].content[{at}].source.{'data' if url.startswith('data:') else 'url'}",
        lambda answer: answer["content"][-1]["text"],
        _anthropics_usage,
        lambda body: (None, None),
    ),
}
