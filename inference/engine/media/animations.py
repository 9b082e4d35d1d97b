"""Animated GIF, WebP, PNG and AVIF where a clip is wanted, by Pillow. Only in the decoding process."""

import numpy as np
from PIL import Image

from inference.engine.media import errors, images
from inference.engine.media.formats import in_words
from inference.engine.media.limits import Limits
from inference.engine.media.sampling import count_of, spread
from inference.engine.media.wire import Frames, VideoJob

ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
SHORTEST = 0.02
"""Seconds. Frames that ask for less are shown for LEFT_OUT, as browsers do."""
LEFT_OUT = 0.1


def decode(data: bytes, job: VideoJob, limits: Limits) -> tuple[Frames, list[memoryview]]:
    with images.opened(data, limits.video_pixels, limits.image_side) as image:
        total = _total(image, limits)
        ends = np.cumsum([_seconds(image, index) for index in range(total)])
        starts = np.concatenate(([0.0], ends[:-1]))
        seconds = float(ends[-1])
        if seconds > limits.video_seconds:
            raise errors.too_large(f"The clip is longer than {limits.video_seconds:g} s, the limit here; cut it.")
        count = count_of(
            total, seconds, job.fps,
            min_frames=job.min_frames, max_frames=job.max_frames, multiple=job.multiple,
        )  # fmt: skip
        indices = spread(starts, count)
        shown = [_shown(image, index, limits) for index in indices]
        width, height = shown[0].size
        message = Frames(
            height, width, str(image.format), indices, [float(starts[index]) for index in indices],
            total, total / seconds, seconds,
        )  # fmt: skip
    return message, [memoryview(frame.tobytes()) for frame in shown]


def _total(image: Image.Image, limits: Limits) -> int:
    try:
        total: int = getattr(image, "n_frames", 1)
    except MemoryError:
        raise
    except Exception:
        raise errors.unreadable("The clip can't be decoded: it is damaged.") from None
    if total == 1 and image.format != "GIF":
        raise errors.unreadable(f"This is no video but a picture ({in_words(image.format)}); send it as one.")
    if total > limits.animation_frames:
        raise errors.too_large(
            f"The animation has {total:,} frames; at most {limits.animation_frames:,} are read. Send it as MP4 or WebM."
        )
    return total


def _seconds(image: Image.Image, index: int) -> float:
    _go_to(image, index)
    seconds = image.info.get("duration", 0) / 1000
    return seconds if seconds >= SHORTEST else LEFT_OUT


def _shown(image: Image.Image, index: int, limits: Limits) -> Image.Image:
    _go_to(image, index)
    frame = images.rgb(image)
    scale = (limits.video_shown_pixels / (frame.width * frame.height)) ** 0.5
    if scale < 1:
        frame = frame.resize((max(1, int(frame.width * scale)), max(1, int(frame.height * scale))))
    return frame


def _go_to(image: Image.Image, index: int) -> None:
    try:
        image.seek(index)
    except MemoryError:
        raise
    except Exception:
        raise errors.unreadable("The clip can't be decoded: it is damaged, or its end is missing.") from None
    images.load(image)
