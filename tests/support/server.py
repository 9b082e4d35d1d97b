"""A whole Atelier (supervisor, gateway, engines, worker) in a data folder of its own."""

import contextlib
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import psycopg.rows

ROOT = Path(__file__).parents[2]
START_SECONDS = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def free_ports(count: int) -> int:
    """The first of so many in a row."""
    while True:
        first = free_port()
        with contextlib.ExitStack() as probes, contextlib.suppress(OSError, OverflowError):
            for port in range(first, first + count):
                probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first


class Server:
    """`serve` as a user starts it. Use as a context manager; `output` is all that it printed. gateways: how many, on
    ports one after another."""

    def __init__(self, data_dir: Path, *arguments: str, port: int | None = None, gateways: int = 1, **environment: str):
        self.data_dir = data_dir
        self.port = port or free_ports(gateways)
        self.ports = range(self.port, self.port + gateways)
        self.arguments = arguments
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ATELIER_")},
            "ATELIER_DATA_DIR": str(data_dir),
            **({"ATELIER_GATEWAYS": str(gateways)} if gateways > 1 else {}),
            **environment,
        }
        self.key = ""
        self.password = ""

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_urls(self) -> list[str]:
        """Of each gateway."""
        return [f"http://127.0.0.1:{port}" for port in self.ports]

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix="serve-", suffix=".log", dir=self.data_dir)
        self._log = Path(name)
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), "serve", *self.arguments, "--port", str(self.port)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
        )
        os.close(descriptor)
        self._wait_started()
        if shown := re.search(r"password (\S+)", self.output):
            self.password = shown[1]
        if shown := re.search(r"sk-atelier-\w+", self.output):
            self.key = shown[0]

    def _wait_started(self) -> None:
        """Until the banner is out, which is when everything is ready."""
        deadline = time.monotonic() + START_SECONDS
        while "Ctrl-C" not in self.output:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"serve did not start:\n{self.output}")
            time.sleep(0.05)

    def stop(self, *, grace: float = 30) -> int:
        """SIGTERM; its exit code. Whatever is left of its processes is killed."""
        children = self.children()
        self.process.terminate()
        try:
            code = self.process.wait(grace)
        finally:
            for left in [self.process, *children]:
                try:
                    left.kill()
                except (psutil.NoSuchProcess, ProcessLookupError):
                    continue
        return code

    def children(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def child(self, word: str) -> psutil.Process:
        """The one child with this word in its command line: `inference.engine`, `gateway` or `worker`."""
        found = [child for child in self.children() if word in child.cmdline()]
        assert len(found) == 1, [child.cmdline() for child in self.children()]
        return found[0]

    def gateway(self, port: int) -> psutil.Process | None:
        """The gateway of that port; None while there is none."""
        return next((child for child in self.children() if gateway_port(child) == port), None)

    def kill_engine(self) -> None:
        self.child("inference.engine").send_signal(signal.SIGKILL)

    def run(self, *command: str, seconds: float = 60) -> str:
        """What a management command prints, run beside the server as an operator would. Raises when it fails."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *command],
            env=self.environment, capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        return done.stdout

    def client(self, **options: Any) -> httpx.Client:
        """An HTTP client with the key, one connection pool."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=self.base_url, headers=headers, timeout=60, **options)

    def ledger(self) -> list[dict[str, Any]]:
        """All usage records, oldest first, straight from the database."""
        query = "select * from accounts_usagerecord order by id"
        if url := self.environment.get("DATABASE_URL"):
            with psycopg.connect(url, row_factory=psycopg.rows.dict_row) as connection:
                return connection.execute(query).fetchall()
        with contextlib.closing(sqlite3.connect(f"file:{self.data_dir / 'atelier.sqlite3'}?mode=ro", uri=True)) as file:
            file.row_factory = sqlite3.Row
            return [dict(row) for row in file.execute(query)]

    def settled(self, before: int, count: int, *, seconds: float = 10) -> list[dict[str, Any]]:
        """The `count` records after the first `before`, once none of them is running any more."""
        deadline = time.monotonic() + seconds
        while True:
            records = self.ledger()[before:]
            if len(records) >= count and all(record["state"] != "running" for record in records):
                return records
            assert time.monotonic() < deadline, records
            time.sleep(0.05)


def gateway_port(process: psutil.Process) -> int | None:
    """Where a gateway process listens; None for any other."""
    try:
        command = process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return None
    return int(command[command.index("--port") + 1]) if "gateway" in command and "--port" in command else None
