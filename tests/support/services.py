"""A private Redis and a private PostgreSQL."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.server import free_port


def missing(what: str) -> NoReturn:
    """Skips the test for lack of a Debian package; fails it where everything must be there, as in CI."""
    if os.environ.get("ATELIER_TEST_EVERYTHING"):
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is not installed")


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    """Its URL."""
    if shutil.which("redis-server") is None:
        missing("redis-server")
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen([*command, "--dir", folder], stdout=subprocess.DEVNULL)
        try:
            wait_for(["redis-cli", "-p", str(port), "ping"])
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait(10)


def postgresql_programs() -> Path:
    """The folder of `initdb` and `postgres`, which Debian keeps off the PATH."""
    on_path = shutil.which("postgres")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or ([Path(on_path).resolve().parent] if on_path else [])
    if not found:
        missing("postgresql")
    return found[-1]


@contextlib.contextmanager
def postgresql_server() -> Iterator[str]:
    """The URL of an empty database."""
    programs = postgresql_programs()
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        as_user: dict[str, str] = {}
        if os.getuid() == 0:
            # PostgreSQL refuses to run as root.
            os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
            as_user["user"] = "postgres"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, **as_user}
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "atelier", "-A", "trust", "--no-sync"], check=True, **quiet
        )  # type: ignore[call-overload]
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, "-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1",
             "-c", "fsync=off", "-c", "max_connections=60"],
            **quiet,
        )  # type: ignore[call-overload]  # fmt: skip
        try:
            wait_for([str(programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(port)])
            create = [programs / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "atelier", "atelier"]
            subprocess.run(create, check=True, **quiet)  # type: ignore[call-overload]
            yield f"postgresql://atelier@127.0.0.1:{port}/atelier"
        finally:
            process.terminate()
            process.wait(10)


def wait_for(command: list[str], seconds: float = 20) -> None:
    """Until the command succeeds."""
    deadline = time.monotonic() + seconds
    while subprocess.run(command, capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline, f"{command[0]} never succeeded"
        time.sleep(0.05)
