"""The decoding process: reads jobs from its standard input, a socket, and answers there. Locked up before the first.

It may use so much memory, address space and time; it can open no file and no connection, and write nowhere. Its
environment holds no secret (`process` sees to that).
"""

import contextlib
import os
import resource
import signal
import socket
import sys
import warnings
from collections.abc import Sequence

import msgspec

from inference.engine.media import clips, images, sounds
from inference.engine.media.errors import HUNGRY, MediaError, too_large, unreadable
from inference.engine.media.limits import Limits
from inference.engine.media.wire import (
    HEADER,
    AudioJob,
    Begun,
    Frames,
    ImageJob,
    Job,
    Pixels,
    Ready,
    Refused,
    Samples,
    VideoJob,
    decode_job,
    framed,
)


def main() -> None:
    limits = msgspec.json.decode(sys.argv[1], type=Limits)
    # Ctrl-C is for whoever started us; we end when the socket does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    client = socket.socket(fileno=0)
    lock_up(limits)
    client.sendall(framed(Ready()))
    while header := client.recv(HEADER.size, socket.MSG_WAITALL):
        job = decode_job(received(client, HEADER.unpack(header)[0]))
        client.sendall(framed(Begun()))
        if not serve(client, job, limits):
            return


def lock_up(limits: Limits) -> None:
    os.nice(5)
    # A bound of the descriptors' numbers: there can be no new one.
    os.closerange(3, 4096)
    restrict(resource.RLIMIT_NOFILE, 3)
    restrict(resource.RLIMIT_FSIZE, 0)
    restrict(resource.RLIMIT_CORE, 0)
    restrict(resource.RLIMIT_AS, limits.memory_bytes)
    restrict(resource.RLIMIT_DATA, limits.memory_bytes)


def restrict(what: int, bound: int) -> None:
    """For good. Not every system knows every limit; on macOS those of memory are for show, and our parent watches."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(what, (bound, bound))


def serve(client: socket.socket, job: Job, limits: Limits) -> bool:
    """Whether this process may go on; one that ran out of memory is better replaced."""
    refused: Refused | None = None
    healthy = True
    try:
        answer, parts = decoded(job, received(client, job.size), limits)
    except MediaError as error:
        # Not the error itself: with its traceback it would keep us, and all of the file, until the next collection.
        refused = _refused(error)
    except MemoryError:
        refused, healthy = _refused(too_large(HUNGRY)), False
    except Exception:  # of the libraries; what it says is not for clients
        refused = _refused(unreadable("It can't be decoded: it is damaged."))
    if refused is not None:
        client.sendall(framed(refused))
        return healthy
    client.sendall(framed(answer))
    for part in parts:
        client.sendall(part)
    return True


def _refused(error: MediaError) -> Refused:
    return Refused(error.code, error.message)


def decoded(job: Job, data: bytes, limits: Limits) -> tuple[Pixels | Frames | Samples, Sequence[bytes | memoryview]]:
    match job:
        case ImageJob():
            allow_seconds(limits.image_time)
            picture, pixels = images.decode(data, limits)
            return picture, (pixels,)
        case VideoJob():
            allow_seconds(limits.video_time)
            clip, frames = clips.decode(data, job, limits)
            return clip, frames
        case AudioJob():
            allow_seconds(limits.audio_time)
            sound, samples = sounds.decode(data, job.rate, limits)
            return sound, (samples,)


def allow_seconds(seconds: float) -> None:
    """Of processor time, from now on: all threads together, so that it is a second line behind our parent's clock."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    bound = int(used.ru_utime + used.ru_stime + seconds * clips.THREADS) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (bound, resource.RLIM_INFINITY))


def received(client: socket.socket, size: int) -> bytes:
    """Raises EOFError when the other end is gone."""
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = client.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return bytes(data)


if __name__ == "__main__":
    main()
