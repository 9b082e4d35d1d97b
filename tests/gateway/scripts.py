"""What scripted engines are told to do, and how to ask them."""

import asyncio
import json
from typing import Any

import pytest

from inference.engine.protocol import Accepted, Delta, Ended, Finished, FirstToken, Tally
from tests.gateway.local import LocalGateway

CHAT = "/v1/chat/completions"
TALLY = Tally(
    prompt_tokens=7, cached_tokens=4, completion_tokens=3, queue_ms=1.0, prefill_ms=2.0, decode_ms=3.0,
    engine_seconds=0.5,
)  # fmt: skip

with_streams = pytest.mark.parametrize("stream", [False, True])


def body(*, stream: bool = False, **fields: Any) -> bytes:
    messages = [{"role": "user", "content": "hi"}]
    return json.dumps({"model": "scripted", "messages": messages, "stream": stream, **fields}).encode()


async def answers(engine: Any, request: Any) -> Any:
    yield Accepted(request.id, 7)
    yield FirstToken(request.id, queue_ms=1.0, engine_ms=3.0)
    yield Delta(request.id, "Hel", 1)
    yield [
        Delta(request.id, "lo", 1),
        Delta(request.id, " \n\n✓", 1),
        Ended(request.id, 0, "stop"),
        Finished(request.id, "stop", TALLY),
    ]


async def begins_and_waits(engine: Any, request: Any) -> Any:
    """Generates two tokens, then nothing until it is cancelled; its tally counts one more."""
    yield Accepted(request.id, 7)
    yield [FirstToken(request.id, 1.0, 3.0), Delta(request.id, "Hello", 2)]
    await engine.cancelled[request.id].wait()
    yield Finished(request.id, "cancelled", TALLY)


async def never_begins(engine: Any, request: Any) -> Any:
    """Prefills for ever, whoever cancels it."""
    yield Accepted(request.id, 7)
    await asyncio.Event().wait()


async def never_hears(engine: Any, request: Any) -> Any:
    yield Accepted(request.id, 7)
    yield [FirstToken(request.id, 1.0, 3.0), Delta(request.id, "Hello", 2)]
    await asyncio.Event().wait()


async def only(gateway: LocalGateway, **expected: Any) -> dict[str, Any]:
    """The one row in the ledger, which is closed and as expected."""
    [row] = await gateway.ledger()
    assert row["state"] == "settled"
    assert {name: row[name] for name in expected} == expected
    assert row["ended_at"] is not None and row["duration_ms"] > 0
    return dict(row)
