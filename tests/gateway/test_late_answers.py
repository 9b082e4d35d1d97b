"""The status line waits for the first event, and comments keep a slow stream alive."""

import asyncio
from typing import Any

import pytest

from gateway import sse
from gateway.sse import HEARTBEAT, EventStream
from inference.engine.protocol import Accepted, Delta, Ended, Finished, FirstToken
from tests.gateway.local import LocalGateway, until
from tests.gateway.scripts import CHAT, TALLY, body


class Wire:
    """Records what an ASGI application sends; each message takes a moment to leave, as on a slow connection."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    async def send(self, message: dict[str, Any]) -> None:
        await asyncio.sleep(0.01)
        self.sent.append(message)

    @property
    def kinds(self) -> list[str]:
        return [message["type"] for message in self.sent]

    @property
    def bodies(self) -> list[bytes]:
        return [message["body"] for message in self.sent if message["type"] == "http.response.body"]


def test_the_line_is_held_for_ten_seconds() -> None:
    assert sse.HOLD_SECONDS == 10
    assert HEARTBEAT.startswith(b":") and HEARTBEAT.endswith(b"\n\n")


async def test_nothing_leaves_before_the_first_event() -> None:
    wire = Wire()
    async with EventStream(wire.send) as events:
        await asyncio.sleep(0.05)
        assert wire.sent == []
        await events.write(b"data: 1\n\n")
        await events.write(b"data: 2\n\n", last=True)
    assert wire.kinds == ["http.response.start", "http.response.body", "http.response.body"]
    assert wire.sent[0]["status"] == 200
    assert wire.bodies == [b"data: 1\n\n", b"data: 2\n\n"]
    assert [message["more_body"] for message in wire.sent[1:]] == [True, False]


async def test_nothing_leaves_at_all_if_nothing_is_said() -> None:
    wire = Wire()
    async with EventStream(wire.send):
        await asyncio.sleep(0)
    assert wire.sent == []


async def test_from_then_on_comments_follow_until_the_first_event(monkeypatch: pytest.MonkeyPatch) -> None:
    # The real limit, only shorter: nobody waits for the whole of it here.
    monkeypatch.setattr(sse, "HOLD_SECONDS", 0.02)
    wire = Wire()
    async with EventStream(wire.send) as events:
        await until(lambda: len(wire.bodies) >= 3)
        assert set(wire.bodies) == {HEARTBEAT}
        await events.write(b"data: 1\n\n")
        beats = wire.bodies.count(HEARTBEAT)
        await asyncio.sleep(0.1)
        assert wire.bodies.count(HEARTBEAT) == beats
    assert wire.kinds.count("http.response.start") == 1 and wire.kinds[0] == "http.response.start"


async def test_an_event_amid_a_beat_comes_after_it_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    # The real limit, only shorter: nobody waits for the whole of it here.
    monkeypatch.setattr(sse, "HOLD_SECONDS", 0.02)
    for moment in range(8):
        wire = Wire()
        async with EventStream(wire.send) as events:
            # Before, within and after the sending of the status line.
            await asyncio.sleep(0.016 + moment * 0.004)
            await events.write(b"data: 1\n\n")
        assert wire.kinds[0] == "http.response.start" and wire.kinds.count("http.response.start") == 1
        assert wire.bodies[-1] == b"data: 1\n\n" and wire.bodies.count(b"data: 1\n\n") == 1


async def test_a_slow_prompt_is_a_stream_with_comments_and_then_its_answer(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real limit, only shorter: nobody waits for the whole of it here.
    monkeypatch.setattr(sse, "HOLD_SECONDS", 0.05)
    go_on = asyncio.Event()

    async def prefills_slowly(engine: Any, request: Any) -> Any:
        yield Accepted(request.id, 7)
        await go_on.wait()
        yield [FirstToken(request.id, 1.0, 3.0), Delta(request.id, "Hello", 1)]
        yield [Ended(request.id, 0, "stop"), Finished(request.id, "stop", TALLY)]

    async with gateway.engine(prefills_slowly), gateway.exchange(CHAT, body=body(stream=True)) as exchange:
        await exchange.until(lambda: exchange.body.count(HEARTBEAT) >= 2)
        assert exchange.status == 200
        go_on.set()
        await exchange.finish()
    assert exchange.body.startswith(HEARTBEAT * 2)
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in exchange.events[:-1]) == "Hello"
    assert exchange.events[-1] == "[DONE]"
