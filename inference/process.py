"""A child process that is kept alive: started, watched, restarted with backoff, stopped."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from inference.engine import protocol

STEADY_SECONDS = 30.0
"""A process that lived this long starts again at once; one that keeps dying waits longer and longer."""

MAX_BACKOFF_SECONDS = 30.0


@dataclass(slots=True)
class Exit:
    """code: negative for a signal, as in `subprocess`.  said: the last line it wrote."""

    code: int
    said: str
    lived: float

    def __str__(self) -> str:
        if self.code < 0:
            with contextlib.suppress(ValueError):
                return f"killed by {signal.Signals(-self.code).name}"
        return self.said or f"exit code {self.code}"


@dataclass(slots=True)
class Child:
    """Runs `argv` again and again until it is stopped. Its output lines get its name in front and go to ours.

    `on_start` gets the process id, `on_exit` how it ended; both may be coroutine functions' results to await.
    """

    name: str
    argv: Sequence[str]
    env: dict[str, str]
    on_start: Callable[[int], object] | None = None
    on_exit: Callable[[Exit], object] | None = None
    hopeless: Collection[int] = ()
    """Exit codes after which only patience helps: the next start waits the longest pause at once."""
    pid: int | None = None
    _process: asyncio.subprocess.Process | None = field(default=None, repr=False)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    async def run(self) -> None:
        backoff = 0.0
        while not self._stopping.is_set():
            ended = await self._run_once()
            await _maybe_await(self.on_exit and self.on_exit(ended))
            if self._stopping.is_set():
                return
            if ended.code in self.hopeless:
                backoff = MAX_BACKOFF_SECONDS
            elif ended.lived > STEADY_SECONDS:
                backoff = 0.0
            else:
                backoff = min(MAX_BACKOFF_SECONDS, max(0.5, backoff * 2))
            again = f"again in {backoff:g} s" if backoff else "again at once"
            self._print(f"ended ({ended}), starting {again}")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), backoff)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    async def stop(self, *, grace: float) -> None:
        """SIGTERM, and SIGKILL for what is still there after `grace` seconds."""
        self._stopping.set()
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), grace)
        except TimeoutError:
            self._print(f"did not end within {grace:g} s and is killed")
            self.kill()
            await self._process.wait()

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    async def _run_once(self) -> Exit:
        began = time.monotonic()
        self._process = process = await asyncio.create_subprocess_exec(
            *self.argv,
            # By the time a child looks who its parent is, that may be gone, and another has taken its place.
            env={**self.env, protocol.PARENT: str(os.getpid())},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            # Ctrl-C is for the supervisor alone, which then ends the others in order.
            start_new_session=True,
        )
        self.pid = process.pid
        await _maybe_await(self.on_start and self.on_start(process.pid))
        said = await self._forward(process)
        code = await process.wait()
        self.pid = None
        return Exit(code, said, time.monotonic() - began)

    async def _forward(self, process: asyncio.subprocess.Process) -> str:
        """Passes the output on until it ends; returns its last line."""
        assert process.stdout is not None
        said = ""
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:
                continue  # longer than the reader's buffer: dropped, the next one is whole again
            if not line:
                return said
            text = line.decode(errors="replace").rstrip()
            said = text or said
            self._print(text)

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _print(self, text: str) -> None:
        print(f"[{self.name}] {text}", file=sys.stderr, flush=True)


async def _maybe_await(value: object) -> None:
    if asyncio.iscoroutine(value):
        await value


def watch_parent(interval: float = 1.0) -> None:
    """Ends this process when its parent is gone without having said so; returns at once (a daemon thread watches)."""
    parent = int(os.environ.get(protocol.PARENT) or os.getppid())

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(interval)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
