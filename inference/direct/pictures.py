"""Pictures and clips as a program has them: paths, bytes, data URLs, and Pillow's images."""

import base64
import binascii
import io
import os
import re
from pathlib import Path
from urllib.parse import unquote

from PIL import Image, ImageOps

from inference.direct.errors import invalid

Picture = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image
"""A path, a data URL, a file's bytes, or an image of Pillow's."""
Video = str | os.PathLike[str] | bytes | bytearray | memoryview

REMOTE = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
KEPT = ("RGB", "RGBA", "L", "LA", "1", "P", "I;16")
"""Pillow's modes that a PNG holds as they are."""
MOST_BYTES = 200 * 1024 * 1024


def picture_bytes(given: object, where: str) -> bytes:
    """A file that the decoder reads. Raises RequestError."""
    if isinstance(given, Image.Image):
        return _encoded(given, where)
    return file_bytes(given, where, "a path, bytes, a data URL or an image of Pillow's")


def file_bytes(given: object, where: str, wanted: str = "a path, bytes or a data URL") -> bytes:
    """Raises RequestError."""
    match given:
        case bytes() | bytearray() | memoryview():
            return bytes(given)
        case str() if given[:5].lower() == "data:":
            return data_url(given, where)
        case str() if given[:8].lower() == "file:///":
            return _read(unquote(given[7:]), where)
        case str() if REMOTE.match(given):
            raise invalid(where, "nothing is fetched from the web here. Fetch it, and pass its bytes.")
        case str() | os.PathLike():
            return _read(given, where)
    raise invalid(where, f"must be {wanted}, not {type(given).__name__}.")


def data_url(url: str, where: str) -> bytes:
    """What is in it. Raises RequestError."""
    header, comma, data = url.partition(",")
    if not comma or not header.lower().endswith(";base64"):
        raise invalid(where, "is no data URL of the form `data:TYPE;base64,DATA`.")
    try:
        return base64.b64decode("".join(unquote(data).split()), validate=True)
    except (binascii.Error, ValueError):
        raise invalid(where, "what is in the data URL is no base64.") from None


def _read(path: str | os.PathLike[str], where: str) -> bytes:
    try:
        file = Path(path).expanduser()
        if file.stat().st_size > MOST_BYTES:
            raise invalid(where, f"is larger than {MOST_BYTES >> 20} MiB.")
        return file.read_bytes()
    except FileNotFoundError:
        raise invalid(where, f"there is no file {str(path)!r}.") from None
    except (OSError, ValueError) as error:
        why = (isinstance(error, OSError) and error.strerror) or "no valid path"
        raise invalid(where, f"the file {str(path)!r} can't be read ({why}).") from None


def _encoded(image: Image.Image, where: str) -> bytes:
    out = io.BytesIO()
    try:
        # Decoded again by the engine's decoder, as every picture is, so that all meet the same limits and rules.
        upright = ImageOps.exif_transpose(image)
        (upright if upright.mode in KEPT else upright.convert("RGB")).save(out, "PNG", compress_level=1)
    except (OSError, ValueError, SystemError) as error:
        raise invalid(where, f"the image can't be read ({type(error).__name__}).") from None
    return out.getvalue()
