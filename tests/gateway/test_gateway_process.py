"""One gateway process: how it starts, drains, dies and comes back. It stands beside the shared server's own gateway,
in front of the same engine and database."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.server import ROOT, Server, free_port

CHAT = "/v1/chat/completions"
ENDLESS = {
    "model": "default", "messages": [{"role": "user", "content": "Hello!"}], "stream": True, "max_tokens": 8000,
    "logit_bias": {str(token): 100 for token in range(300, 332)}, "temperature": 2,
}  # fmt: skip
"""Says a few tokens at random: a text that repeats itself is ended (--repetition-policy)."""


class Process:
    """A program that serves HTTP on `port`, with the server's data folder."""

    def __init__(self, server: Server, *command: str, port: int, **environment: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._server = server
        descriptor, name = tempfile.mkstemp(prefix="gateway-", suffix=".log", dir=server.data_dir)
        self._log = Path(name)
        self._process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={
                **server.environment,
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "platform")]),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
        )
        os.close(descriptor)

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_started(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            assert self._process.poll() is None and time.monotonic() < deadline, self.output
            try:
                if httpx.get(f"{self.url}/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)

    def client(self) -> httpx.Client:
        headers = {"authorization": f"Bearer {self._server.key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def exit_code(self) -> int:
        return self._process.wait(60)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def gateway(server: Server, name: str, *arguments: str, **environment: str) -> Iterator[Process]:
    port = free_port()
    command = [str(ROOT / "manage.py"), "gateway", "--port", str(port), "--name", name, *arguments]
    process = Process(server, *command, port=port, **environment)
    try:
        process.wait_started()
        yield process
    finally:
        process.kill()


def rows_of(server: Server, name: str) -> list[dict[str, Any]]:
    return [row for row in server.ledger() if row["gateway"] == name]


def begin(answer: httpx.Response) -> Iterator[bytes]:
    """The stream's pieces, after the first few have come."""
    pieces = answer.iter_raw()
    received = b""
    while received.count(b"data: ") < 4:
        received += next(pieces)
    return pieces


def test_asked_to_stop_it_lets_requests_finish_and_takes_no_new_ones(server: Server) -> None:
    with gateway(server, "drains") as process, process.client() as client, process.client() as other:
        with client.stream("POST", CHAT, json={**ENDLESS, "max_tokens": 1500}) as answer:
            pieces = begin(answer)
            process.signal(signal.SIGTERM)
            deadline = time.monotonic() + 20
            while (refused := other.get("/v1/models")).status_code == 200:
                assert time.monotonic() < deadline
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "draining"
            assert int(refused.headers["retry-after"]) > 0
            assert other.get("/health").status_code == 200
            assert other.get("/health/ready").status_code == 503
            rest = b"".join(pieces)
        assert rest.endswith(b"data: [DONE]\n\n")
        assert process.exit_code() == 0
        [row] = rows_of(server, "drains")
        assert (row["state"], row["outcome"], row["completion_tokens"]) == ("settled", "length", 1500)
        assert "Traceback" not in process.output


def test_any_gateway_cancels_what_another_works_on(server: Server) -> None:
    with (
        gateway(server, "works") as process,
        process.client() as client,
        server.client() as other,
        client.stream("POST", CHAT, json=ENDLESS, headers={"x-request-id": "far-away"}) as answer,
    ):
        pieces = begin(answer)
        cancelled = other.delete("/v1/requests/far-away")
        assert cancelled.status_code == 200 and cancelled.json()["status"] == "cancelled"
        [row] = rows_of(server, "works")
        assert (row["state"], row["outcome"]) == ("settled", "cancelled") and row["completion_tokens"] > 0
        rest = b"".join(pieces)
        assert b"request_cancelled" in rest and b"[DONE]" not in rest
        assert other.delete("/v1/requests/far-away").status_code == 404


@pytest.mark.parametrize("how", ["the time is up", "asked twice"])
def test_what_does_not_finish_in_time_is_cancelled_and_settled(server: Server, how: str) -> None:
    limit = "0.2" if how == "the time is up" else "1000"
    name = f"hurries {limit}"
    with gateway(server, name, ATELIER_DRAIN_SECONDS=limit) as process, process.client() as client:
        with client.stream("POST", CHAT, json=ENDLESS) as answer:
            pieces = begin(answer)
            process.signal(signal.SIGTERM)
            if how == "asked twice":
                # Two signals of one number may become one: the second comes when the first has been heard.
                with process.client() as other:
                    while other.get("/health/ready").json()["status"] != "draining":
                        time.sleep(0.01)
                process.signal(signal.SIGINT)
            rest = b"".join(pieces)
        *_, last, end = rest.split(b"\n\n")
        assert end == b""
        assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "draining"
        assert process.exit_code() == 0
        [row] = rows_of(server, name)
        assert (row["state"], row["outcome"]) == ("settled", "cancelled")
        assert 0 < row["completion_tokens"] < 8000


def test_a_killed_gateway_closes_its_rows_when_it_comes_back(server: Server) -> None:
    with (
        gateway(server, "phoenix") as process,
        process.client() as client,
        client.stream("POST", CHAT, json=ENDLESS) as answer,
    ):
        begin(answer)
        process.kill()
    [row] = rows_of(server, "phoenix")
    assert row["state"] == "running"
    with gateway(server, "phoenix"):
        deadline = time.monotonic() + 20
        while (row := rows_of(server, "phoenix")[0])["state"] == "running":
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert row["outcome"] == "interrupted"
    # The engine remembered how far it had come.
    assert row["state"] == "settled"
    assert row["prompt_tokens"] > 0 and row["completion_tokens"] > 0


def test_a_taken_port_is_said_in_one_line(server: Server) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = Process(server, str(ROOT / "manage.py"), "gateway", "--port", str(port), port=port)
        assert process.exit_code() == 1
    assert "ATELIER_PORT" in process.output and "--port" in process.output and str(port) in process.output
    assert "Traceback" not in process.output


def test_an_address_for_everyone_is_warned_of(server: Server) -> None:
    with gateway(server, "open", "--host", "0.0.0.0") as process:
        process.signal(signal.SIGTERM)
        assert process.exit_code() == 0
        assert "no TLS" in process.output
    with gateway(server, "closed") as process:
        assert "TLS" not in process.output


def test_what_is_not_http_or_not_ours_does_no_harm(server: Server) -> None:
    upgrade = (
        b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    rubbish = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50,
        b"GARBAGE\r\n\r\n",
        b"GET /v1/\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/%ff%00%0a HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nDaphne-Root-Path: /v1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        upgrade,
    ]
    with gateway(server, "tough") as process, process.client() as client:
        for bytes_sent in rubbish:
            with socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=5) as raw:
                raw.sendall(bytes_sent)
                raw.settimeout(1)
                try:
                    answer = raw.recv(4096)
                except TimeoutError:
                    answer = b""
                assert b" 200 " not in answer and b" 101 " not in answer and b" 500 " not in answer, bytes_sent
        assert client.get("/v1/models").status_code == 200
        process.signal(signal.SIGTERM)
        assert process.exit_code() == 0
        assert "crashed" not in process.output and "housekeeping" not in process.output


def test_the_same_application_under_uvicorn(server: Server) -> None:
    port = free_port()
    command = ["-m", "uvicorn", "atelier.asgi:application", "--port", str(port), "--log-level", "warning"]
    process = Process(server, *command, port=port, DJANGO_SETTINGS_MODULE="atelier.settings")
    before = len(server.ledger())
    try:
        process.wait_started()
        with process.client() as client:
            with client.stream("POST", CHAT, json={**ENDLESS, "max_tokens": 50}) as answer:
                data = b"".join(answer.iter_raw())
            assert answer.status_code == 200 and data.endswith(b"data: [DONE]\n\n")
            assert client.get("/v1/nothing").json()["error"]["code"] == "unknown_url"
            with client.stream("POST", CHAT, json=ENDLESS) as answer:
                begin(answer)
        finished, left = server.settled(before, 2)
        assert (finished["outcome"], finished["completion_tokens"]) == ("length", 50)
        assert left["outcome"] == "disconnected" and 0 < left["completion_tokens"] < 8000
        process.signal(signal.SIGINT)
        assert process.exit_code() == 0
        assert "Traceback" not in process.output and "Task was destroyed" not in process.output
    finally:
        process.kill()


def test_the_gateway_never_imports_a_model_library(server: Server) -> None:
    heavy = {"mlx", "mlx_lm", "mlx_vlm", "transformers", "tokenizers", "numpy"}
    code = f"import sys, atelier.asgi, gateway.server; print(sorted({heavy!r} & set(sys.modules)))"
    process = Process(server, "-c", code, port=0, DJANGO_SETTINGS_MODULE="atelier.settings")
    assert process.exit_code() == 0, process.output
    assert process.output.splitlines()[-1] == "[]"
