"""Our end of a decoding process: starts it, gives it jobs, and kills it when it takes too long or too much."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import psutil

from inference.engine.media.errors import HUNGRY, OUR_FAULT, MediaError, too_large, unreadable
from inference.engine.media.limits import Limits
from inference.engine.media.wire import (
    HEADER,
    LARGEST_MESSAGE,
    Answer,
    Begun,
    Frames,
    Job,
    Pixels,
    Ready,
    Samples,
    decode_answer,
    framed,
)

START_SECONDS = 60.0
"""To load its libraries, on a machine that is busy with something else."""
LOOK_SECONDS = 0.1
"""Between two looks at the clock and at how much memory it has."""
KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")
"""Of our environment, which holds secrets."""
SEND_PIECE = 1 << 20


class NotBegun(Exception):
    """The process was dead before it heard of the job: another can have it."""


@dataclass(frozen=True, slots=True)
class Reply:
    answer: Answer
    data: npt.NDArray[np.uint8]
    """The raw bytes behind it; empty where there are none."""


class DecodingProcess:
    """One job at a time. Not for several threads at once."""

    def __init__(self, limits: Limits) -> None:
        """Raises MediaError where it can't be started."""
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._socket, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "inference.engine.media.worker", msgspec.json.encode(limits).decode()],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=_environment(),
                    close_fds=False,  # so that it is spawned, not forked from a process that holds a GPU
                )
            self._watched = psutil.Process(self._process.pid)
            ready = self._answer(time.monotonic() + START_SECONDS)
        except (OSError, EOFError, TimeoutError, msgspec.DecodeError, psutil.Error):
            self.close()
            raise MediaError(OUR_FAULT, "The media decoder could not be started; try again.") from None
        assert isinstance(ready, Ready)

    @property
    def pid(self) -> int:
        return int(self._watched.pid)

    @property
    def usable(self) -> bool:
        """Alive, and not swollen."""
        with contextlib.suppress(psutil.Error):
            alive = self._process is not None and self._process.poll() is None
            return alive and self._watched.memory_info().rss < self._limits.resting_bytes
        return False

    def do(self, job: Job, data: bytes, *, seconds: float, most: int) -> Reply:
        """seconds: that it may take.  most: bytes that may come back. After any exception but NotBegun the process is
        of no more use, and gone. Raises MediaError and NotBegun."""
        deadline = time.monotonic() + seconds
        begun = False
        try:
            self._send(framed(job), deadline)
            begun = isinstance(self._answer(deadline), Begun)
            self._send(data, deadline)
            answer = self._answer(deadline)
            size = _size_of(answer)
            # It may be in the hands of whoever sent the picture.
            if size < 0 or size > most:
                raise EOFError
            return Reply(answer, self._receive(size, deadline))
        except TimeoutError:
            self.close()
            raise unreadable(f"It could not be decoded within {seconds:g} s; send something smaller.") from None
        except (OSError, EOFError, msgspec.DecodeError):
            self.close()
            if not begun:
                raise NotBegun from None
            raise unreadable("It can't be decoded: the decoder died of it.") from None
        except BaseException:
            self.close()
            raise

    def kill(self) -> None:
        """Whatever it is doing. Unlike the rest, for any thread: the one that waits for an answer then hears of it."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        self.kill()
        if self._process is not None:
            self._process.wait()
        self._socket.close()

    def _send(self, data: bytes, deadline: float) -> None:
        view = memoryview(data)
        while view:
            self._look(deadline)
            with contextlib.suppress(TimeoutError):
                view = view[self._socket.send(view[:SEND_PIECE]) :]

    def _answer(self, deadline: float) -> Answer:
        (size,) = HEADER.unpack(self._receive(HEADER.size, deadline).tobytes())
        if size > LARGEST_MESSAGE:
            raise EOFError
        answer: Answer = decode_answer(self._receive(size, deadline).tobytes())
        return answer

    def _receive(self, size: int, deadline: float) -> npt.NDArray[np.uint8]:
        data = np.empty(size, np.uint8)
        view = data.data
        while view:
            self._look(deadline)
            with contextlib.suppress(TimeoutError):
                count = self._socket.recv_into(view)
                if not count:
                    raise EOFError
                view = view[count:]
        return data

    def _look(self, deadline: float) -> None:
        """Before each wait. Raises TimeoutError after the deadline, MediaError where it has too much memory."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(min(left, LOOK_SECONDS))
        with contextlib.suppress(psutil.Error):
            if self._watched.memory_info().rss > self._limits.memory_bytes:
                raise too_large(HUNGRY)


def _environment() -> dict[str, str]:
    root = str(Path(__file__).parents[3])
    kept = {name: value for name in KEPT if (value := os.environ.get(name))}
    return {
        **kept,
        "PYTHONPATH": root,
        # BLAS would reserve address space for threads that are never used.
        "OPENBLAS_NUM_THREADS": "1",
        # What a large picture has taken goes back to the system, instead of staying as holes between small things.
        "MALLOC_ARENA_MAX": "2",
        "MALLOC_MMAP_THRESHOLD_": "131072",
        "MALLOC_TRIM_THRESHOLD_": "131072",
    }


def _size_of(answer: Answer) -> int:
    match answer:
        case Pixels():
            return answer.height * answer.width * 3
        case Frames():
            return len(answer.indices) * answer.height * answer.width * 3
        case Samples():
            return 4 * answer.count
        case _:
            return 0
