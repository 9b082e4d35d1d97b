"""Where a picture, video or sound comes from: what the client wrote, checked as far as that goes without looking."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from gateway.errors import quote
from gateway.media import refusals
from gateway.media.rules import Kind, Rules

LONGEST_URL = 8192
LONGEST_HEADER = 256
"""Characters of a data URL before its comma."""
SCHEME = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*):")
MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*")
NEUTRAL = ("application/octet-stream", "binary/octet-stream")
FITTING = {
    Kind.IMAGE: ("image/",),
    Kind.VIDEO: ("video/", "image/"),  # a GIF
    Kind.AUDIO: ("audio/", "video/", "application/ogg"),  # what browsers record is often called a video
}
AUDIO_FORMATS = ("wav", "mp3", "flac", "ogg", "opus", "m4a", "mp4", "aac", "webm", "mpeg", "mpga")
"""Taken as a hint, and checked for being one: the bytes say what they are."""


@dataclass(frozen=True, slots=True)
class Inline:
    """In the request itself."""

    kind: Kind
    where: str
    """The field, such as `messages[0].content[1].image_url.url`."""
    encoded: str = field(repr=False)
    """Base64, a multiple of four characters, not longer than allowed, not decoded yet."""
    coarse: bool = False
    """Of a picture: few details are enough. So below."""

    @property
    def size(self) -> int:
        """Bytes that it will have."""
        return len(self.encoded) // 4 * 3 - self.encoded[-2:].count("=")


@dataclass(frozen=True, slots=True)
class Remote:
    """To be fetched."""

    kind: Kind
    where: str
    url: str = field(repr=False)
    """http or https; whether it may be fetched is for `fetch` to say."""
    coarse: bool = False


@dataclass(frozen=True, slots=True)
class Local:
    """A file under the folder for media."""

    kind: Kind
    where: str
    path: str = field(repr=False)
    """As it was written; whether it may be read is for `folder` to say."""
    coarse: bool = False


Source = Inline | Remote | Local


def from_url(url: str, kind: Kind, where: str, rules: Rules) -> Source:
    """Of a data URL, an http(s) URL, or, where there is a folder for them, the path of a file. Raises ApiError."""
    if not url:
        raise refusals.invalid(where, "is empty; it must be an http(s) or data URL")
    if url[:5].lower() == "data:":
        return _from_data_url(url, kind, where, rules)
    if len(url) > LONGEST_URL:
        raise refusals.invalid(where, f"is longer than {LONGEST_URL} characters; send the data as a data URL")
    if "\0" in url:
        raise refusals.invalid(where, "has a null character in it")
    found = SCHEME.match(url)
    match found and found["scheme"].lower():
        case "http" | "https":
            return Remote(kind, where, url)
        case "file":
            return _local(_path_of(url, where), kind, where, rules)
        case None:
            return _local(url, kind, where, rules)
        case scheme:
            raise refusals.forbidden(where, f"must be an http, https or data URL, not {quote(scheme or '')}")


def from_base64(data: str, media_type: str | None, kind: Kind, where: str, rules: Rules) -> Inline:
    """As Anthropic sends it. where: of the object that has `data` and `media_type`. Raises ApiError."""
    if media_type is not None:
        _check_type(media_type, kind, f"{where}.media_type")
    return _inline(data, kind, f"{where}.data", rules)


def from_input_audio(data: str, format: str | None, where: str, rules: Rules) -> Source:
    """As OpenAI sends it; a data URL will do. where: of the object that has `data` and `format`. Raises ApiError."""
    if format is not None and format.lower() not in AUDIO_FORMATS:
        place = f"{where}.format"
        raise refusals.invalid(place, f"must be one of {', '.join(AUDIO_FORMATS)}, not {quote(format)}")
    if data[:5].lower() == "data:":
        return _from_data_url(data, Kind.AUDIO, f"{where}.data", rules)
    return _inline(data, Kind.AUDIO, f"{where}.data", rules)


def check_together(sources: Sequence[Source], rules: Rules) -> None:
    """Before anything is decoded or fetched. Raises ApiError for too many, and for too much that is in the request."""
    if len(sources) > rules.most:
        raise refusals.too_many(sources[rules.most].where, rules.most)
    left = rules.together
    for source in sources:
        if isinstance(source, Inline):
            left -= source.size
            if left < 0:
                raise refusals.too_large_together(source.where, rules.together)


def _from_data_url(url: str, kind: Kind, where: str, rules: Rules) -> Inline:
    comma = url.find(",", 0, LONGEST_HEADER)
    header = url[5:comma].lower() if comma >= 0 else ""
    media_type, *parameters = (part.strip() for part in header.split(";"))
    if comma < 0 or "base64" not in parameters:
        raise refusals.invalid(where, "is no data URL of the form `data:TYPE;base64,DATA`")
    if media_type:
        _check_type(media_type, kind, where)
    data = url[comma + 1 :]
    return _inline(unquote(data) if "%" in data else data, kind, where, rules)


def _inline(data: str, kind: Kind, where: str, rules: Rules) -> Inline:
    # Its length bounds what there is to do; wrapped lines add a 38th.
    if len(data) > (rules.largest[kind] * 4 // 3 + 4) * 1.1:
        raise refusals.too_large(where, kind, rules.largest[kind])
    if not data.isascii():
        raise refusals.invalid(where, "is no base64: it has characters that base64 hasn't")
    encoded = "".join(data.split())
    if not encoded:
        raise refusals.invalid(where, "is empty: there are no data in it")
    if len(encoded) % 4 or encoded.find("=", 0, len(encoded) - 2) >= 0:
        raise refusals.invalid(where, "is no base64: it ends in the middle, or its parts were joined")
    source = Inline(kind, where, encoded)
    if source.size > rules.largest[kind]:
        raise refusals.too_large(where, kind, rules.largest[kind])
    return source


def _check_type(media_type: str, kind: Kind, where: str) -> None:
    """What is said is not believed, but what is said to be something else is not even tried."""
    said = media_type.strip().lower()
    if not MEDIA_TYPE.fullmatch(said):
        raise refusals.invalid(where, f"names no media type such as {FITTING[kind][0]}…, but {quote(media_type)}")
    if not said.startswith((*FITTING[kind], *NEUTRAL)):
        raise refusals.invalid(where, f"must be of a type {FITTING[kind][0]}…, not {quote(said)}")


def _path_of(url: str, where: str) -> str:
    rest = url[5:]
    if rest.startswith("//"):
        host, slash, rest = rest[2:].partition("/")
        if host.lower() not in ("", "localhost"):
            raise refusals.forbidden(where, "names a file of another host")
        rest = slash + rest
    path = unquote(rest)
    if "\0" in path:
        raise refusals.invalid(where, "has a null character in it")
    return path


def _local(path: str, kind: Kind, where: str, rules: Rules) -> Local:
    if rules.folder is None:
        raise refusals.forbidden(
            where, "must be an http, https or data URL; files of the server can't be named (--media-dir)"
        )
    return Local(kind, where, path)
