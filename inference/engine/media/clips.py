"""A clip's bytes to frames, by PyAV. Only in the decoding process."""

import bisect
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from inference.engine.media import animations, errors
from inference.engine.media.containers import VIDEO_CODECS, container_of, damaged
from inference.engine.media.formats import CLIPS, PICTURES, format_of, in_words
from inference.engine.media.limits import Limits
from inference.engine.media.sampling import count_of, spread
from inference.engine.media.wire import Frames, VideoJob

THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class Survey:
    """What the packets tell before any is decoded. Times are in ticks of the stream's own clock."""

    ticks: list[int]
    """When each frame is shown, in order."""
    keys: list[int]
    """Of those, the ones that decoding can begin at."""
    tick: float
    """Seconds."""
    fps: float

    @property
    def seconds(self) -> float:
        return len(self.ticks) / self.fps


class _Astray(Exception):
    """Seeking has led to a place behind the wanted one."""


def decode(data: bytes, job: VideoJob, limits: Limits) -> tuple[Frames, list[memoryview]]:
    format = format_of(data)
    if format in animations.ANIMATED:
        return animations.decode(data, job, limits)
    if format not in CLIPS:
        if format in PICTURES:
            raise errors.unreadable(f"This is no video but a picture ({in_words(format)}); send it as one.")
        raise errors.unsupported(f"The video can't be read: it is {in_words(format)}. MP4, WebM and GIF are read.")
    with container_of(data, format, "video") as container:
        survey = _surveyed(container, limits)
    count = count_of(
        len(survey.ticks), survey.seconds, job.fps,
        min_frames=job.min_frames, max_frames=job.max_frames, multiple=job.multiple,
    )  # fmt: skip
    indices = spread(np.array(survey.ticks) * survey.tick, count)
    wanted = [survey.ticks[index] for index in indices]
    try:
        frames = _frames(data, format, wanted, survey.keys, limits)
    except _Astray:
        frames = _frames(data, format, wanted, [], limits)
    height, width = frames[0].shape[:2]
    times = [(tick - survey.ticks[0]) * survey.tick for tick in wanted]
    message = Frames(height, width, format, indices, times, len(survey.ticks), survey.fps, survey.seconds)
    return message, [frame.data.cast("B") for frame in frames]


def _stream(container: InputContainer) -> VideoStream:
    """Raises MediaError where there is none but a cover picture, or one that is not read here."""
    moving = [stream for stream in container.streams.video if not stream.disposition & stream.disposition.attached_pic]
    if not moving:
        raise errors.unreadable("There are no pictures in this video.")
    stream = moving[0]
    if stream.codec_context is None or stream.codec_context.codec.canonical_name not in VIDEO_CODECS:
        raise errors.unsupported("The video's codec is not read here; send H.264, HEVC, VP8, VP9, AV1 or MPEG-4.")
    return stream


def _surveyed(container: InputContainer, limits: Limits) -> Survey:
    stream = _stream(container)
    _check_size(stream.codec_context.width, stream.codec_context.height, limits)
    ticks, keys = set(), set()
    for packet in container.demux(stream):
        if not packet.size or packet.is_discard:
            continue
        if packet.is_corrupt or (shown := packet.pts if packet.pts is not None else packet.dts) is None:
            raise damaged("video")
        ticks.add(shown)
        if packet.is_keyframe:
            keys.add(shown)
        if len(ticks) > limits.video_source_frames:
            raise errors.too_large(f"The video has more than {limits.video_source_frames:,} frames; cut it.")
    if not ticks or stream.time_base is None:
        raise errors.unreadable("There are no pictures in this video.")
    tick = float(stream.time_base)
    length = (max(ticks) - min(ticks)) * tick
    if length > limits.video_seconds:
        raise errors.too_large(f"The video is longer than {limits.video_seconds:g} s, the limit here; cut it.")
    measured = (len(ticks) - 1) / length if length > 0 else 1.0
    said = float(stream.average_rate or 0)
    # The file's own number is exact where its times are rounded, but may be anything.
    fps = said if (len(ticks) == 1 and said > 0) or abs(said - measured) < measured / 50 else measured
    return Survey(sorted(ticks), sorted(keys), tick, fps)


def _check_size(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.video_pixels:
        raise errors.too_large(
            f"The video's frames are {width}×{height} pixels; at most {limits.video_pixels:,} in all are read. "
            "Scale it down."
        )


def _frames(
    data: bytes, format: str, wanted: Sequence[int], keys: Sequence[int], limits: Limits
) -> list[npt.NDArray[np.uint8]]:
    """Those that are shown at the wanted ticks. Raises _Astray where the keys lead there."""
    frames: list[npt.NDArray[np.uint8]] = []
    with container_of(data, format, "video") as container:
        stream = _stream(container)
        stream.codec_context.options = {"max_pixels": str(limits.video_pixels)}
        stream.codec_context.thread_count = THREADS
        stream.thread_type = "AUTO"
        for frame in _shown(container, stream, wanted, keys):
            pixels = _pixels(frame, limits, frames[0].shape if frames else None)
            if pixels.nbytes * len(wanted) > limits.video_bytes:
                most = limits.video_bytes // pixels.nbytes
                raise errors.too_large(
                    f"{len(wanted)} frames of {pixels.shape[1]}×{pixels.shape[0]} pixels are too many; ask for at most "
                    f"{most} (video_max_frames)."
                )
            frames.append(pixels)
    return frames


def _shown(
    container: InputContainer, stream: VideoStream, wanted: Sequence[int], keys: Sequence[int]
) -> Iterator[VideoFrame]:
    """Decodes on from one wanted tick to the next, or from the last key before it where that saves something."""
    frames = container.decode(stream)
    at: VideoFrame | None = None
    for tick in wanted:
        before = bisect.bisect_right(keys, tick)
        # The first key is where decoding begins anyway.
        if before > 1 and (at is None or at.pts is None or at.pts < keys[before - 1]):
            container.seek(keys[before - 1], stream=stream)
            frames = container.decode(stream)
            at = next(frames, None)
            if at is None or at.pts is None or at.pts > tick:
                raise _Astray
        while at is None or (at.pts is not None and at.pts < tick):
            following = next(frames, None)
            if following is None:
                break
            at = following
        if at is None:
            raise damaged("video")
        yield at


def _pixels(frame: VideoFrame, limits: Limits, like: tuple[int, ...] | None) -> npt.NDArray[np.uint8]:
    """Upright, scaled down where it is larger than what is shown. like: the shape of the frames before."""
    _check_size(frame.width, frame.height, limits)
    turns = round(frame.rotation / 90) % 4
    if like is not None:
        height, width = (like[1], like[0]) if turns % 2 else (like[0], like[1])
    else:
        scale = min(1.0, (limits.video_shown_pixels / (frame.width * frame.height)) ** 0.5)
        width, height = max(1, int(frame.width * scale)), max(1, int(frame.height * scale))
    plain = frame.reformat(width=width, height=height, format="rgb24", interpolation=Interpolation.BICUBIC)
    return np.ascontiguousarray(np.rot90(plain.to_ndarray(), turns))
