"""Drives an ASGI application as a server would, with a client that may go away."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Self

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


class Exchange:
    """One request and its answer. As a context manager it runs the application and leaves nothing of it behind."""

    def __init__(
        self,
        application: Application,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        pieces: int = 1,
        **scope: Any,
    ) -> None:
        given = {"host": "localhost", **(headers or {})}
        self.scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in given.items()],
            "client": ["127.0.0.1", 1],
            "server": ["127.0.0.1", 8000],
            **scope,
        }
        self._application = application
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        size = -(-len(body) // pieces) or 1
        cut = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
        for at, piece in enumerate(cut):
            self._incoming.put_nowait({"type": "http.request", "body": piece, "more_body": at + 1 < len(cut)})
        self._sent = asyncio.Condition()
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.chunks: list[bytes] = []
        self.complete = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.ensure_future(self._application(self.scope, self._incoming.get, self._send))
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._task.done():
            self.disconnect()
        await asyncio.wait_for(self._task, 20)

    async def _send(self, message: dict[str, Any]) -> None:
        async with self._sent:
            assert not self.complete, "something was sent after the end"
            if message["type"] == "http.response.start":
                assert self.status is None, "the response began twice"
                self.status = message["status"]
                self.headers = {name.decode().lower(): value.decode("ascii") for name, value in message["headers"]}
            else:
                assert self.status is not None, "the body came before the headers"
                self.chunks.append(message.get("body", b""))
                self.complete = not message.get("more_body", False)
                if self.complete:
                    # As Daphne does: its client may not have gone at all.
                    self._incoming.put_nowait({"type": "http.disconnect"})
            self._sent.notify_all()

    def disconnect(self) -> None:
        self._incoming.put_nowait({"type": "http.disconnect"})

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for what the application sends to make `condition` true."""
        async with self._sent:
            await asyncio.wait_for(self._sent.wait_for(condition), 20)

    async def finish(self) -> Self:
        """Waits for the application's end."""
        await asyncio.wait_for(asyncio.shield(self._task), 20)
        return self

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object, whose shape is checked."""
        [(name, error)] = self.json.items()
        assert name == "error"
        assert set(error) == {"message", "type", "param", "code"}
        return dict(error)

    @property
    def events(self) -> list[Any]:
        """The data of each event of a stream, JSON read; comments are left out."""
        text = self.body.decode()
        assert text.endswith("\n\n")
        blocks = [block for block in text.removesuffix("\n\n").split("\n\n") if not block.startswith(":")]
        assert all(block.startswith("data: ") and "\n" not in block for block in blocks), text
        data = [block.removeprefix("data: ") for block in blocks]
        return [item if item == "[DONE]" else json.loads(item) for item in data]


async def ask(application: Application, method: str, path: str, **options: Any) -> Exchange:
    """A whole exchange with a patient client."""
    async with Exchange(application, method, path, **options) as exchange:
        return await exchange.finish()
