"""Streamed answers as bytes on a wire: what a client really sees, broken connections included."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx

from inference.sources import BUILTIN_FOLDER
from tests.support.server import Server


def only(*texts: str) -> dict[str, int]:
    """A bias that leaves the built-in model these tokens to say."""
    vocabulary = json.loads((BUILTIN_FOLDER / "atelier-tiny" / "tokenizer.json").read_text())["model"]["vocab"]
    return {str(vocabulary[text]): 100 for text in texts}


def body(text: str = "Hello", **fields: Any) -> dict[str, Any]:
    """A streamed greedy chat request."""
    message = {"role": "user", "content": text}
    return {"model": "default", "messages": [message], "temperature": 0, "stream": True, **fields}


def endless(**fields: Any) -> dict[str, Any]:
    """One that says digits, a token each, until max_tokens: the text's length is the number of tokens. It says them at
    random, for a text that repeats itself is ended (--repetition-policy)."""
    return body(logit_bias=only(*"0123456789"), temperature=2, **fields)


def events(lines: Iterator[str]) -> Iterator[Any]:
    """The data of each server-sent event; "[DONE]" as it is."""
    for line in lines:
        if line.startswith("data: "):
            data = line.removeprefix("data: ")
            yield data if data == "[DONE]" else json.loads(data)


class Stream(threading.Thread):
    """One stream in a thread: `seen` are its events so far, `started` is set by the first text."""

    def __init__(self, server: Server, request: dict[str, Any]):
        super().__init__(daemon=True)
        self._server = server
        self._request = request
        self.seen: list[Any] = []
        self.started = threading.Event()
        self.status = 0
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            with (
                self._server.client() as client,
                client.stream("POST", "/v1/chat/completions", json=self._request) as response,
            ):
                self.status = response.status_code
                for event in events(response.iter_lines()):
                    self.seen.append(event)
                    if text_of([event]):
                        self.started.set()
        except httpx.HTTPError as error:
            self.error = error

    @property
    def text(self) -> str:
        return text_of(self.seen)


def text_of(seen: list[Any]) -> str:
    choices = [event["choices"] for event in seen if isinstance(event, dict) and event.get("choices")]
    return "".join(choice[0]["delta"].get("content") or "" for choice in choices)
