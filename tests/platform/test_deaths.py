"""Processes die; requests get an honest error, the ledger the true count, and the next request an answer."""

import json
import signal
import time

import httpx
import psutil
import pytest

from tests.support.server import Server
from tests.support.streams import Stream, body, endless, text_of

STREAMS = 8


@pytest.fixture(scope="module")
def mortal(tmp_path_factory):
    """A server whose processes are killed and come back."""
    data_dir = tmp_path_factory.mktemp("mortal")
    with Server(data_dir, ATELIER_ENGINE_STALL_SECONDS="3") as server:
        yield server


def answers(server, seconds=60):
    """The next request works, within so many seconds. The client waits; the server holds the request."""
    with server.client() as client:
        answer = client.post("/v1/chat/completions", json=body("Hello", stream=False), timeout=seconds)
        assert answer.status_code == 200, answer.text
        return answer.json()["choices"][0]["message"]["content"]


def running_streams(server, **fields):
    streams = [Stream(server, endless(max_tokens=3000, **fields)) for _ in range(STREAMS)]
    for stream in streams:
        assert stream.started.wait(20)
    return streams


def test_kill_9_of_the_engine_under_8_streams(mortal):
    before = len(mortal.ledger())
    streams = running_streams(mortal)
    mortal.kill_engine()
    with mortal.client() as client:
        assert client.get("/health").status_code == 200
    for stream in streams:
        stream.join(20)
        assert not stream.is_alive(), "it has no end"
        assert stream.error is None and stream.status == 200
        error = stream.seen[-1]["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert (error["type"], error["code"]) == ("server_error", "engine_error")
    assert answers(mortal)
    records = mortal.settled(before, STREAMS + 1)[:STREAMS]
    assert {record["outcome"] for record in records} == {"engine_error"}
    assert {record["state"] for record in records} == {"settled"}
    assert all(record["completion_tokens"] > 0 and record["prompt_tokens"] > 0 for record in records)


def test_what_was_received_is_what_is_charged(mortal):
    before = len(mortal.ledger())
    stream = Stream(mortal, endless(max_tokens=3000))
    assert stream.started.wait(20)
    mortal.kill_engine()
    stream.join(5)
    received = text_of(stream.seen)
    assert received.isdigit()
    assert mortal.settled(before, 1)[0]["completion_tokens"] == len(received)
    assert answers(mortal)


def test_a_wedged_engine_is_killed_and_replaced(mortal):
    engine = mortal.child("inference.engine")
    stream = Stream(mortal, endless(max_tokens=3000))
    assert stream.started.wait(20)
    engine.send_signal(signal.SIGSTOP)
    stream.join(25)
    assert stream.seen[-1]["error"]["code"] == "engine_error"
    assert answers(mortal)
    assert mortal.child("inference.engine").pid != engine.pid
    assert "wedged" in mortal.output


def test_kill_9_of_the_gateway(mortal):
    """Its successor settles what it left: the engine remembers."""
    before = len(mortal.ledger())
    streams = running_streams(mortal)
    mortal.child("gateway").kill()
    for stream in streams:
        stream.join(10)
        assert "[DONE]" not in stream.seen
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            assert answers(mortal)
            break
        except httpx.HTTPError:
            time.sleep(0.2)
    records = mortal.settled(before, STREAMS + 1, seconds=20)[:STREAMS]
    assert all(record["completion_tokens"] > 0 for record in records), records
    assert "running" not in {record["state"] for record in records}


def test_kill_9_of_the_worker(mortal):
    worker = mortal.child("worker")
    worker.kill()
    worker.wait(5)
    assert answers(mortal)
    deadline = time.monotonic() + 15
    while sum("worker" in child.cmdline() for child in mortal.children()) != 1:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_closing_the_connection_stops_the_generation(mortal):
    """Charged are at most the tokens that were sent and two steps'."""
    before = len(mortal.ledger())
    seen = []
    with (
        mortal.client() as client,
        client.stream("POST", "/v1/chat/completions", json=endless(max_tokens=3000)) as response,
    ):
        for line in response.iter_lines():
            if line.startswith("data: {"):
                seen.append(json.loads(line.removeprefix("data: ")))
            if len(text_of(seen)) >= 20:
                break
    record = mortal.settled(before, 1)[0]
    assert record["outcome"] == "disconnected"
    assert len(text_of(seen)) <= record["completion_tokens"] < 1500
    engine = mortal.child("inference.engine")
    assert idle(engine), "the engine still works for a client that is gone"


def idle(process: psutil.Process) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if process.cpu_percent(0.5) < 20:
            return True
    return False


def test_the_ledger_agrees_with_every_answer(mortal):
    before = len(mortal.ledger())
    with mortal.client() as client:
        usages = [
            client.post("/v1/chat/completions", json=body("Hello", stream=False, max_tokens=tokens)).json()["usage"]
            for tokens in (1, 5, 60)
        ]
    records = mortal.settled(before, 3)
    for usage, record in zip(usages, records, strict=True):
        assert usage["prompt_tokens"] == record["prompt_tokens"]
        assert usage["completion_tokens"] == record["completion_tokens"]
