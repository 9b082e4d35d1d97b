"""The fields in which the dialects carry media, and the source that each names."""

from dataclasses import replace
from typing import Annotated

from msgspec import Struct

from gateway.body import one_of
from gateway.errors import ApiError
from gateway.media import refusals
from gateway.media.rules import Kind, Rules
from gateway.media.source import AUDIO_FORMATS, Source, from_base64, from_input_audio, from_url

DETAILS = ("auto", "low", "high", "original")


class ImageUrl(Struct):
    """Of `image_url` parts."""

    url: str
    detail: Annotated[str, one_of(DETAILS)] | None = None


class MediaUrl(Struct):
    """Of `video_url` and `audio_url` parts."""

    url: str


class InputAudio(Struct):
    data: str
    format: Annotated[str, one_of(AUDIO_FORMATS)] | None = None


class ImageSource(Struct):
    """Of Anthropic's `image` blocks."""

    type: Annotated[str, one_of(("base64", "url"))]
    media_type: str | None = None
    data: str | None = None
    url: str | None = None


def of_image_url(given: ImageUrl | str, where: str, rules: Rules) -> Source:
    """A chat's `image_url`, or the string that some clients send instead. where: `messages[0].content[1].image_url`."""
    if isinstance(given, str):
        return from_url(given, Kind.IMAGE, where, rules)
    return _picture(given.url, given.detail, f"{where}.url", f"{where}.detail", rules)


def of_media_url(given: MediaUrl | str, kind: Kind, where: str, rules: Rules) -> Source:
    """A chat's `video_url` or `audio_url`, or a string. where: `messages[0].content[1].video_url`."""
    if isinstance(given, str):
        return from_url(given, kind, where, rules)
    return from_url(given.url, kind, f"{where}.url", rules)


def of_input_audio(given: InputAudio, where: str, rules: Rules) -> Source:
    """where: `messages[0].content[1].input_audio`."""
    return from_input_audio(given.data, given.format, where, rules)


def of_input_image(image_url: str, detail: str | None, where: str, rules: Rules) -> Source:
    """A Responses' `input_image`. where: of the part, `input[0].content[1]`."""
    return _picture(image_url, detail, f"{where}.image_url", f"{where}.detail", rules)


def of_image_source(given: ImageSource, where: str, rules: Rules) -> Source:
    """Anthropic's. where: `messages[0].content[1].source`."""
    match given.type:
        case "base64":
            if given.media_type is None:
                raise _required(f"{where}.media_type")
            if given.data is None:
                raise _required(f"{where}.data")
            return from_base64(given.data, given.media_type, Kind.IMAGE, where, rules)
        case "url":
            if given.url is None:
                raise _required(f"{where}.url")
            return from_url(given.url, Kind.IMAGE, f"{where}.url", rules)
        case _:
            raise refusals.invalid(f"{where}.type", "must be `base64` or `url`: files can't be shown as pictures here")


def _picture(url: str, detail: str | None, where: str, of_detail: str, rules: Rules) -> Source:
    if detail is not None and detail not in DETAILS:
        raise refusals.invalid(of_detail, f"must be one of {', '.join(DETAILS)}")
    source = from_url(url, Kind.IMAGE, where, rules)
    return replace(source, coarse=True) if detail == "low" else source


def _required(where: str) -> ApiError:
    return refusals.invalid(where, "is required")
