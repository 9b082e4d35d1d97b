"""Files and batches in the tests' own process: the worker's part is called as Celery would, and asks the application
without a socket in between."""

import json
import threading
from collections.abc import Sequence
from typing import Any

import httpx
from channels.db import database_sync_to_async
from django.utils import timezone

from accounts.batches import progress, tickets
from accounts.models import Batch
from atelier.asgi import application
from gateway.batches import asking
from gateway.batches.slice import work_on_next
from tests.gateway.asgi_driver import Exchange
from tests.gateway.local import LocalGateway

CHAT = "/v1/chat/completions"
BOUNDARY = "atelier-test"


def line(id: str, *, url: str = CHAT, method: str = "POST", **body: Any) -> str:
    messages = [{"role": "user", "content": id}]
    return json.dumps(
        {"custom_id": id, "method": method, "url": url, "body": {"model": "scripted", "messages": messages, **body}}
    )


def form(content: bytes | None, *, name: str = "in.jsonl", **fields: str) -> bytes:
    parts = [f'Content-Disposition: form-data; name="{key}"\r\n\r\n{value}'.encode() for key, value in fields.items()]
    if content is not None:
        head = f'Content-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: text/plain\r\n\r\n'
        parts.append(head.encode() + content)
    return b"".join(b"--%s\r\n%s\r\n" % (BOUNDARY.encode(), part) for part in parts) + f"--{BOUNDARY}--\r\n".encode()


async def post_file(
    gateway: LocalGateway, content: bytes | None, *, headers: dict[str, str] | None = None, **fields: str
) -> Exchange:
    given = {"content-type": f"multipart/form-data; boundary={BOUNDARY}", **(headers or {})}
    body = form(content, **{"purpose": "batch", **fields})
    return await gateway.ask("/v1/files", body=body, headers=given, pieces=3)


async def upload(gateway: LocalGateway, *lines: str) -> str:
    """The id of a file of these lines."""
    answer = await post_file(gateway, "\n".join(lines).encode())
    assert answer.status == 200, answer.body
    return str(answer.json["id"])


async def create(gateway: LocalGateway, *lines: str, url: str = CHAT, **fields: Any) -> str:
    """The id of a batch of these lines."""
    body = {"input_file_id": await upload(gateway, *lines), "endpoint": url, "completion_window": "24h", **fields}
    answer = await gateway.ask("/v1/batches", body=json.dumps(body).encode())
    assert answer.status == 200, answer.body
    return str(answer.json["id"])


async def batch_of(gateway: LocalGateway, id: str) -> Any:
    return (await gateway.ask(f"/v1/batches/{id}", method="GET")).json


async def content_of(gateway: LocalGateway, id: str) -> list[Any]:
    answer = await gateway.ask(f"/v1/files/{id}/content", method="GET")
    assert answer.status == 200
    return [json.loads(each) for each in answer.body.decode().splitlines()]


def without_sockets(monkeypatch: Any) -> None:
    """The worker's client speaks to the application in this process; all else of it is as it is."""
    original = httpx.AsyncClient

    def made(**options: Any) -> httpx.AsyncClient:
        return original(**options, transport=httpx.ASGITransport(application))

    monkeypatch.setattr(asking.httpx, "AsyncClient", made)


async def work(stopping: threading.Event | None = None) -> bool:
    """One slice, if there is a batch that is due."""
    return await work_on_next(stopping or threading.Event())


async def change(id: str, **fields: Any) -> None:
    """Puts a batch into a state that time would bring."""
    await database_sync_to_async(Batch.objects.filter(batch_id=id).update)(**fields)


def told(batch: Any) -> Sequence[tuple[Any, ...]]:
    """What is wrong with it: line, code and param."""
    return [(each["line"], each["code"], each["param"]) for each in batch["errors"]["data"]]


async def due_now(id: str) -> None:
    await change(id, due_at=timezone.now())


async def ended(gateway: LocalGateway, id: str) -> bool:
    await due_now(id)
    await work()
    return (await batch_of(gateway, id))["status"] not in ("validating", "in_progress", "finalizing", "cancelling")


def stopped() -> threading.Event:
    """A worker that is told to stop reads a batch's input and begins nothing."""
    stopping = threading.Event()
    stopping.set()
    return stopping


async def ticket_of(id: str) -> str:
    def take() -> str:
        batch = progress.claim()
        assert batch is not None and batch.batch_id == id
        return tickets.issue(batch)

    return await database_sync_to_async(take)()


async def try_ticket(gateway: LocalGateway, ticket: str, path: str = CHAT) -> int:
    body = json.dumps({"model": "scripted", "messages": [{"role": "user", "content": "hi"}], "prompt": "hi"}).encode()
    answer = await gateway.ask(path, body=body, headers={"authorization": f"Bearer {ticket}"})
    assert answer.status is not None
    return answer.status
