"""What a request shows: files are decoded, and the conversation told in the parts that the model knows."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from inference.engine import protocol
from inference.engine.media.decoder import Clip, Decoder, Sound
from inference.engine.media.errors import MediaError, unsupported
from inference.engine.text.template import PromptError
from inference.engine.vision.features import Seen
from inference.engine.vision.whole import Whole

if TYPE_CHECKING:
    from inference.engine.vision.eye import Eye
    from inference.engine.vision.solo_eye import SoloEye

Messages = list[dict[str, Any]]
Shot = Image.Image | Clip | Sound
Shown = list[tuple[Shot, str]]
"""What is shown or played, and the field that it came in."""

COARSE_SIDE = 512
"""Pixels that a picture has at most along either side, where few details are enough: as OpenAI's `low`."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Unreadable(Exception):
    """One of the files."""

    where: str
    """The field that it came in."""
    error: MediaError


def read(
    eye: "Eye | SoloEye", decoder: Decoder, messages: Messages, request: protocol.Generate, options: dict[str, Any]
) -> tuple[str, list[int], Seen | Whole]:
    """The prompt as text and as tokens, and what is to be seen and heard in it. options: of the chat template. Raises
    Unreadable and PromptError."""
    wishes = {"fps": request.video_fps, "max_frames": request.video_max_frames}
    parts = [wishes | part for message in messages for part in _parts(message) if part["type"] != "text"]
    shown = [(_decoded(eye, decoder, part, file), file.where) for part, file in zip(parts, request.media, strict=True)]
    if not eye.sees_clips:
        messages, shown = as_pictures(messages, shown)
    text = eye.wording.render([_bare(message) for message in messages], options)
    alone = [_alone(eye, shot, where) for shot, where in shown]
    return text, *eye.read(text, [shot for shot, _ in shown], alone)


def as_pictures(messages: Messages, shown: Shown) -> tuple[Messages, Shown]:
    """The same conversation, with a picture for each frame of its clips, in order."""
    coming = iter(shown)
    frames: Shown = []
    told = []
    for message in messages:
        content = [each for part in _parts(message) for each in _pictures(part, coming, frames)]
        told.append({**message, "content": content} if content else message)
    return told, frames


def _pictures(part: dict[str, Any], coming: Iterator[tuple[Shot, str]], frames: Shown) -> Messages:
    if part["type"] == "text":
        return [part]
    shot, where = next(coming)
    if not isinstance(shot, Clip):
        frames.append((shot, where))
        return [part]
    frames += [(Image.fromarray(frame), where) for frame in shot.frames]
    return [{"type": "image"}] * len(shot.frames)


def _alone(eye: "Eye | SoloEye", shot: Shot, where: str) -> dict[str, Any]:
    """What the model's processor makes of it."""
    try:
        return eye.alone(shot)
    except Exception as error:  # whatever a processor raises over sides that it can't cut into patches
        log.info("the model's processor failed: %s", type(error).__name__)
        assert not isinstance(shot, Sound)
        height, width = shot.frames.shape[1:3] if isinstance(shot, Clip) else shot.size[::-1]
        message = f"This model can't look at {width}×{height} pixels: the sides are too short or too unequal."
        raise Unreadable(where, unsupported(message)) from None


def _decoded(eye: "Eye | SoloEye", decoder: Decoder, part: dict[str, Any], file: protocol.Media) -> Shot:
    if part["type"] == "audio" and not eye.hears:
        raise PromptError(f"`{file.where}`: this model hears nothing; ask one that does.", file.where)
    try:
        if part["type"] == "image":
            picture = Image.fromarray(decoder.image(file.data).pixels)
            if file.coarse:
                picture.thumbnail((COARSE_SIDE, COARSE_SIDE))
            return picture
        if part["type"] == "audio":
            return decoder.audio(file.data, eye.rate)
        frames = eye.choice(part["fps"], part["max_frames"])
        return decoder.video(
            file.data, frames.fps, frames.max_frames, min_frames=frames.min_frames, multiple=frames.multiple
        )
    except MediaError as error:
        raise Unreadable(file.where, error) from None


def _bare(message: dict[str, Any]) -> dict[str, Any]:
    """Without what its parts say for us alone."""
    parts = [part if part["type"] == "text" else {"type": part["type"]} for part in _parts(message)]
    return {**message, "content": parts} if parts else message


def _parts(message: dict[str, Any]) -> Messages:
    content = message.get("content")
    return content if isinstance(content, list) else []
