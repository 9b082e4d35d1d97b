"""Two ways to ask for a completion, as lean as can be: what the load costs must not hide what the server costs."""

import asyncio
import json
import uuid
from dataclasses import dataclass
from time import perf_counter

from inference.client import EngineClient
from inference.engine.protocol import Delta, Generate, Sampling


@dataclass
class Answer:
    tokens: int
    first: float
    """Seconds to the first text."""


class DirectLoad:
    """Asks the engine process in its own protocol."""

    def __init__(self, client: EngineClient, endpoint: str, prompt: str, bias: dict[int, float]):
        self._client = client
        self._endpoint = endpoint
        self._prompt = prompt
        self._bias = bias

    async def ask(self, max_tokens: int) -> Answer:
        request = Generate(
            id=uuid.uuid4().hex,
            messages=[{"role": "user", "content": self._prompt}],
            max_tokens=max_tokens,
            sampling=Sampling(logit_bias=self._bias),
        )
        began, first, tokens = perf_counter(), 0.0, 0
        async for events in self._client.generate(self._endpoint, request):
            for event in events:
                if isinstance(event, Delta):
                    first = first or perf_counter() - began
                    tokens += event.tokens
        return Answer(tokens, first)


class HttpLoad:
    """Streams chat completions, a new connection each, and counts the tokens by the usage of the last chunk."""

    def __init__(self, port: int, key: str, model: str, prompt: str, bias: dict[int, float]):
        self._port = port
        self._head = (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
            f"authorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: "
        ).encode()
        self._body = {
            "model": model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            "logit_bias": {str(token): value for token, value in bias.items()},
        }

    async def ask(self, max_tokens: int) -> Answer:
        """Raises RuntimeError for anything but a whole stream."""
        body = json.dumps({**self._body, "max_tokens": max_tokens}).encode()
        began, first = perf_counter(), 0.0
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        writer.write(self._head + str(len(body)).encode() + b"\r\n\r\n" + body)
        received = bytearray()
        while piece := await reader.read(1 << 16):
            if not first and b'"content":"' in piece.replace(b'"content":""', b""):
                first = perf_counter() - began
            received += piece
        writer.close()
        usage = received.rfind(b'"completion_tokens":')
        if b"[DONE]" not in received or usage < 0:
            raise RuntimeError(received[-500:].decode(errors="replace"))
        tokens = int(received[usage + len(b'"completion_tokens":') :].split(b",")[0].split(b"}")[0])
        return Answer(tokens, first)
