"""What a request shows: files are decoded, and the conversation told in the parts that the model knows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from inference.engine import protocol
from inference.engine.media.decoder import Clip, Decoder, Sound
from inference.engine.media.errors import MediaError
from inference.engine.text.template import PromptError
from inference.engine.vision.features import Seen
from inference.engine.vision.whole import Whole

if TYPE_CHECKING:
    from inference.engine.vision.eye import Eye
    from inference.engine.vision.solo_eye import SoloEye

Messages = list[dict[str, Any]]
Shot = Image.Image | Clip | Sound


@dataclass(slots=True)
class Unreadable(Exception):
    """One of the files."""

    where: str
    """The field that it came in."""
    error: MediaError


def read(
    eye: "Eye | SoloEye", decoder: Decoder, messages: Messages, files: Sequence[protocol.Media], options: dict[str, Any]
) -> tuple[str, list[int], Seen | Whole]:
    """The prompt as text and as tokens, and what is to be seen and heard in it. files: of the parts that are no text,
    in their order; options: of the chat template. Raises Unreadable and PromptError."""
    parts = [part for message in messages for part in _parts(message) if part["type"] != "text"]
    shots = [_decoded(eye, decoder, part, file) for part, file in zip(parts, files, strict=True)]
    if not eye.sees_clips:
        messages, shots = as_pictures(messages, shots)
    text = eye.wording.render([_bare(message) for message in messages], options)
    return text, *eye.read(text, shots)


def as_pictures(messages: Messages, shots: Sequence[Shot]) -> tuple[Messages, list[Shot]]:
    """The same conversation, with a picture for each frame of its clips, in order."""
    coming = iter(shots)
    shown: list[Shot] = []
    told = []
    for message in messages:
        content = [each for part in _parts(message) for each in _pictures(part, coming, shown)]
        told.append({**message, "content": content} if content else message)
    return told, shown


def _pictures(part: dict[str, Any], coming: Iterator[Shot], shown: list[Shot]) -> Messages:
    if part["type"] == "text":
        return [part]
    shot = next(coming)
    if not isinstance(shot, Clip):
        shown.append(shot)
        return [part]
    shown += [Image.fromarray(frame) for frame in shot.frames]
    return [{"type": "image"}] * len(shot.frames)


def _decoded(eye: "Eye | SoloEye", decoder: Decoder, part: dict[str, Any], file: protocol.Media) -> Shot:
    if part["type"] == "audio" and not eye.hears:
        raise PromptError(f"`{file.where}`: this model hears nothing; ask one that does.", file.where)
    try:
        if part["type"] == "image":
            return Image.fromarray(decoder.image(file.data).pixels)
        if part["type"] == "audio":
            return decoder.audio(file.data, eye.rate)
        frames = eye.choice(part.get("fps"), part.get("max_frames"))
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
