"""Decodes pictures, clips and sounds in processes of their own: what kills the decoder costs that one request."""

import hashlib
import math
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from inference.engine.media.errors import OUR_FAULT, MediaError, too_large, unreadable
from inference.engine.media.limits import Limits
from inference.engine.media.process import DecodingProcess, NotBegun, Reply
from inference.engine.media.wire import AudioJob, Frames, ImageJob, Job, Pixels, Refused, Samples, VideoJob


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    pixels: npt.NDArray[np.uint8]
    """(height, width, 3), RGB, upright; read-only, as the arrays of the others are."""
    format: str
    digest: str
    """SHA-256, hexadecimal, of the pixels and their shape: equal for the same picture in another file."""
    source_digest: str
    """Of the bytes as they were sent. So in the others."""


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    frames: npt.NDArray[np.uint8]
    """(frames, height, width, 3), RGB, upright."""
    times: list[float]
    """Seconds from the clip's beginning, of each frame."""
    indices: list[int]
    """Which of the clip's frames they are."""
    total: int
    """Frames that the clip has."""
    fps: float
    """The clip's own."""
    seconds: float
    """The clip's length."""
    format: str
    digest: str
    """Of the frames, their shape and their times, and of what was asked for: whoever asks otherwise is never given what
    is remembered of this one, even where the frames are the same."""
    source_digest: str


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    samples: npt.NDArray[np.float32]
    """(samples,), one channel, −1 to 1 as a rule."""
    rate: int
    """Hertz."""
    format: str
    digest: str
    """Of the samples and their rate."""
    source_digest: str

    @property
    def seconds(self) -> float:
        return self.samples.size / self.rate


class Decoder:
    """A few decoding processes, started when they are first needed and again when they have died.

    For any number of threads; each call blocks until its own job is done, without the interpreter's lock. Calls beyond
    `workers` wait for their turn. All raise MediaError.
    """

    def __init__(self, limits: Limits | None = None, *, workers: int = 2) -> None:
        self.limits = limits or Limits()
        self._idle: list[DecodingProcess] = []
        self._all: set[DecodingProcess] = set()
        self._places = threading.BoundedSemaphore(workers)
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def processes(self) -> list[int]:
        """Process ids of those that live."""
        with self._lock:
            return [process.pid for process in self._all]

    def image(self, data: bytes) -> Picture:
        reply = self._done(ImageJob(len(data)), data, "picture", self.limits.image_time, self.limits.image_bytes)
        answer = reply.answer
        assert isinstance(answer, Pixels)
        pixels = reply.data.reshape(answer.height, answer.width, 3)
        return Picture(pixels, answer.format, _digest(pixels, ""), hashlib.sha256(data).hexdigest())

    def video(self, data: bytes, fps: float, max_frames: int, *, min_frames: int = 1, multiple: int = 1) -> Clip:
        """`fps` frames of each second, evenly over the clip, from `min_frames` to `max_frames`, rounded down to a
        multiple; all where the clip has fewer than that. Raises ValueError for numbers that make no sense."""
        if not (0 < fps < math.inf and 1 <= multiple <= max_frames and 1 <= min_frames <= max_frames):
            raise ValueError("fps must be above 0, and min_frames and multiple from 1 to max_frames.")
        if max_frames > self.limits.video_frames:
            raise too_large(f"At most {self.limits.video_frames} frames of a video can be read (video_max_frames).")
        job = VideoJob(len(data), fps, max_frames, min_frames, multiple)
        reply = self._done(job, data, "video", self.limits.video_time, self.limits.video_bytes)
        answer = reply.answer
        assert isinstance(answer, Frames)
        frames = reply.data.reshape(len(answer.indices), answer.height, answer.width, 3)
        return Clip(
            frames=frames,
            times=answer.times,
            indices=answer.indices,
            total=answer.total,
            fps=answer.fps,
            seconds=answer.seconds,
            format=answer.format,
            digest=_digest(frames, f"{answer.times} {fps} {max_frames}"),
            source_digest=hashlib.sha256(data).hexdigest(),
        )

    def audio(self, data: bytes, rate: int) -> Sound:
        """Raises ValueError for a rate that makes no sense."""
        if not 1_000 <= rate <= 192_000:
            raise ValueError("rate must be from 1000 to 192000 hertz.")
        most = self.limits.audio_bytes(rate)
        reply = self._done(AudioJob(len(data), rate), data, "sound", self.limits.audio_time, most)
        answer = reply.answer
        assert isinstance(answer, Samples)
        samples = reply.data.view(np.float32)
        return Sound(samples, rate, answer.format, _digest(samples, str(rate)), hashlib.sha256(data).hexdigest())

    def close(self) -> None:
        """Ends the processes; jobs under way fail."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = self._all.difference(idle)
        for process in idle:
            self._forget(process)
        for process in busy:
            process.kill()

    def _done(self, job: Job, data: bytes, what: str, seconds: float, most: int) -> Reply:
        if not data:
            raise unreadable(f"The {what} is empty: it has no bytes.")
        with self._places:
            reply = self._try(job, data, seconds, most)
        match reply.answer:
            case Refused(code, message):
                raise MediaError(code, message)
            case _:
                reply.data.flags.writeable = False
                return reply

    def _try(self, job: Job, data: bytes, seconds: float, most: int) -> Reply:
        # An idle process may have been killed unnoticed, a new one as good as not; whoever outlives the start and dies
        # of the job has begun it.
        for _ in range(3):
            process = self._taken()
            try:
                reply = process.do(job, data, seconds=seconds, most=most)
            except NotBegun:
                self._forget(process)
                continue
            except BaseException:
                self._forget(process)
                raise
            self._put_back(process)
            return reply
        raise MediaError(OUR_FAULT, "The media decoder dies again and again; try again later.")

    def _taken(self) -> DecodingProcess:
        with self._lock:
            if self._closed:
                raise MediaError(OUR_FAULT, "The media decoder has been closed.")
            if self._idle:
                return self._idle.pop()
        process = DecodingProcess(self.limits)
        with self._lock:
            self._all.add(process)
        return process

    def _put_back(self, process: DecodingProcess) -> None:
        usable = process.usable
        with self._lock:
            if keep := usable and not self._closed:
                self._idle.append(process)
        if not keep:
            self._forget(process)

    def _forget(self, process: DecodingProcess) -> None:
        process.close()
        with self._lock:
            self._all.discard(process)


def _digest(array: npt.NDArray[np.uint8] | npt.NDArray[np.float32], more: str) -> str:
    """Made here and not in the process that decoded, which might say what it likes."""
    made = hashlib.sha256(f"{array.dtype.str} {array.shape} {more}\n".encode())
    made.update(array.data.cast("B"))
    return made.hexdigest()
