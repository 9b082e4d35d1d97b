"""The contestants' servers: started on a free port, waited for, stopped; one at a time.

Every peer runs with continuous batching, and where a setting might help it, in one mode more: the best mode counts.
OpenBLAS is preloaded for all of them where it is there, as our supervisor does it for our engines.
"""

import ctypes.util
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import psutil

from tests.benchmarks.peers import BUILD
from tests.benchmarks.peers.environments import Environment
from tests.support.server import Server, free_port

OURS = "atelier"
READY_SECONDS = 300
STOP_SECONDS = 10
HEALTH_SECONDS = 5


class ServerFailed(Exception):
    """It did not start, or it is gone; with the end of its log."""


class Running(Protocol):
    """A server that answers: what a client has to know of it."""

    port: int
    key: str
    model: str

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stops it."""

    def check(self) -> None:
        """Raises ServerFailed when its process is gone."""


Arguments = Callable[[Environment, str, int], list[str]]


@dataclass(frozen=True)
class Mode:
    """One way of running a peer's server."""

    name: str
    package: str
    arguments: Arguments
    environment: dict[str, str] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    """The kinds of scenario that this mode is made for; empty for all."""


def mlx_lm(*flags: str) -> Arguments:
    """Batches up to 32 rows and keeps a prompt cache by default."""

    def arguments(environment: Environment, model: str, port: int) -> list[str]:
        server = environment.program("mlx_lm.server")
        return [server, "--model", model, "--host", "127.0.0.1", "--port", str(port), *flags]

    return arguments


def mlx_vlm(*flags: str) -> Arguments:
    """Batches without a limit by default; its prefix cache (APC) is off unless the environment turns it on. (Then it
    logs a failed self-check for models without a make_cache of their own, and caches blocks nevertheless.)"""

    def arguments(environment: Environment, model: str, port: int) -> list[str]:
        server = environment.program("mlx_vlm.server")
        return [server, "--model", model, "--host", "127.0.0.1", "--port", str(port), *flags]

    return arguments


def vllm_mlx(*flags: str) -> Arguments:
    """Batches up to 256 sequences, 32 of which decode; a prefix cache is on by default."""

    def arguments(environment: Environment, model: str, port: int) -> list[str]:
        server = environment.program("vllm-mlx")
        return [
            server, "serve", model, "--host", "127.0.0.1", "--port", str(port), "--continuous-batching", *flags,
        ]  # fmt: skip

    return arguments


APC = {"APC_ENABLED": "1", "APC_DISK_ENABLED": "0"}
"""Without the disk tier, which would make the next round's cold start a warm one and write to the home folder."""
SMALL_STEPS = ("--prefill-step-size", "256")
CHUNKS = ("--chunked-prefill-tokens", "256")
MODES = [
    Mode("mlx-lm", "mlx-lm", mlx_lm()),
    Mode("mlx-lm, small prefill steps", "mlx-lm", mlx_lm(*SMALL_STEPS), only=("interrupted",)),
    Mode("mlx-vlm", "mlx-vlm", mlx_vlm()),
    Mode("mlx-vlm, prefix cache", "mlx-vlm", mlx_vlm(), environment=APC, only=("shared",)),
    Mode("mlx-vlm, small prefill steps", "mlx-vlm", mlx_vlm(*SMALL_STEPS), only=("interrupted",)),
    Mode("vllm-mlx", "vllm-mlx", vllm_mlx()),
    Mode("vllm-mlx, paged cache", "vllm-mlx", vllm_mlx("--use-paged-cache")),
    Mode("vllm-mlx, chunked prefill", "vllm-mlx", vllm_mlx(*CHUNKS)),
    Mode("vllm-mlx, paged cache, chunked prefill", "vllm-mlx", vllm_mlx("--use-paged-cache", *CHUNKS)),
]


def flags_of(mode: Mode) -> str:
    """The mode's command line and environment as the report shows them."""
    program, *rest = mode.arguments(Environment(mode.package), "MODEL", 0)
    shown = [Path(program).name, *rest]
    place = shown.index("--host")
    del shown[place : place + 4]
    return " ".join([*(f"{name}={value}" for name, value in mode.environment.items()), *shown])


class Peer:
    """A peer's server in one mode, with this model folder."""

    key = "none"

    def __init__(self, mode: Mode, model: Path, *, offline: bool):
        """offline: keep the libraries from asking a model hub for what is in the folder anyway."""
        self.mode = mode
        self.model = str(model)
        self.port = 0
        self._offline = offline
        self._process: subprocess.Popen[bytes] | None = None
        self._log = BUILD / "logs" / f"{re.sub(r'[^a-z]+', '-', mode.name)}-{model.name}.log"

    def __enter__(self) -> Self:
        self.port = free_port()
        self._log.parent.mkdir(parents=True, exist_ok=True)
        environment = with_openblas(dict(os.environ)) | {"TOKENIZERS_PARALLELISM": "false"} | self.mode.environment
        if self._offline:
            environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self.mode.arguments(Environment(self.mode.package), self.model, self.port),
                cwd=self._log.parent, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        try:
            self._wait_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    def check(self) -> None:
        assert self._process is not None
        code = self._process.poll()
        if code is not None:
            raise ServerFailed(f"it ended with code {code}: {self._tail()}")

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            self.check()
            if healthy(self.port):
                return
            time.sleep(0.1)
        raise ServerFailed(f"not ready after {READY_SECONDS} s: {self._tail()}")

    def _stop(self) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _tail(self) -> str:
        return self._log.read_text(errors="replace").strip()[-300:]


class Ours:
    """The whole of Atelier, with a data folder of its own that goes with it."""

    def __init__(self, model: Path):
        self.model = ""
        self.key = ""
        self.port = 0
        self._folder = tempfile.TemporaryDirectory(prefix="peers-")
        self.server = Server(Path(self._folder.name), str(model))

    def __enter__(self) -> Self:
        try:
            self.server.start()
            self.key = self.server.run("createkey", "--user", "admin", "--quiet").strip()
            with self.server.client() as client:
                self.model = client.get("/v1/models").json()["data"][0]["id"]
        except Exception as error:
            self.__exit__(None, None, None)
            raise ServerFailed(str(error)[-500:]) from error
        self.port = self.server.port
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.server.stop()
        except subprocess.TimeoutExpired:
            pass  # an engine that hangs; stop() has killed what it knew of by now
        finally:
            self._end_strays()
            self._folder.cleanup()

    def _end_strays(self) -> None:
        """An engine that was restarted while its supervisor was being killed; known by our data folder, which is
        nobody else's. It would take its share of the machine from whoever is measured next."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("ATELIER_DATA_DIR") == self._folder.name:
                    process.kill()

    def check(self) -> None:
        if self.server.process.poll() is not None:
            raise ServerFailed(f"it ended: {self.server.output[-300:]}")
        try:
            self.server.child("inference.engine")
        except (AssertionError, psutil.Error) as error:
            raise ServerFailed(f"its engine is gone: {self.server.output[-300:]}") from error


def healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=HEALTH_SECONDS) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError, ValueError):
        return False


def openblas() -> str | None:
    """The library to preload; None on other systems and where it is missing."""
    return ctypes.util.find_library("openblas") if sys.platform == "linux" else None


def with_openblas(environment: dict[str, str]) -> dict[str, str]:
    if library := openblas():
        environment["LD_PRELOAD"] = " ".join(filter(None, [library, environment.get("LD_PRELOAD")]))
    return environment
