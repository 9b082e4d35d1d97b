"""Clips and mlx-vlm's processors: which frames they want, and what they are told of them."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from mlx_vlm.utils import resolve_video_sampling

from inference.engine.media.decoder import Clip
from inference.engine.media.limits import Limits

AS_PICTURES = 16
"""Frames of a clip that is shown as so many pictures, where nobody names a number: each takes as many tokens as one."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which frames of a clip; as `Decoder.video` has it."""

    fps: float
    max_frames: int
    min_frames: int
    multiple: int


def choice(processor: Any, *, native: bool, fps: float | None, max_frames: int | None) -> Choice:
    """The client's wishes first, then those of the model's processor, then mlx-vlm's (2 a second, 4 or more, an even
    number). native: the model has a word for clips."""
    wanted = resolve_video_sampling(processor, {"fps": fps} if fps is not None else {})
    most = max_frames or min(wanted.max_frames, Limits().video_frames if native else AS_PICTURES)
    return Choice(
        fps=float(wanted.fps),
        max_frames=most,
        min_frames=min(wanted.min_frames if native else 1, most),
        multiple=min(wanted.frame_factor if native else 1, most),
    )


def facts(clip: Clip) -> dict[str, Any]:
    """What mlx-vlm's processors want to know of a clip. Frames of unequal length are counted as if all were equal, so
    that the times are right."""
    return {
        "total_num_frames": clip.total,
        "fps": clip.fps,
        "frames_indices": [round(time * clip.fps) for time in clip.times],
        "height": clip.frames.shape[1],
        "width": clip.frames.shape[2],
        "duration": clip.seconds,
    }


def pixels(clip: Clip) -> Any:
    """uint8 [frames, 3, height, width], as mlx-vlm's own `load_video` makes them."""
    return clip.frames.transpose(0, 3, 1, 2)


def digest(clip: Clip) -> bytes:
    """Of the frames, their times, and the rest that a processor is told."""
    return hashlib.sha256(f"{clip.digest} {clip.total} {clip.fps} {clip.seconds}".encode()).digest()


def trial() -> Clip:
    """Half dark, half light, for trying what a model makes of clips."""
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    frames[1] = 200
    return Clip(frames, [0.0, 0.5], [0, 1], 2, 2.0, 1.0, "", "", "")
