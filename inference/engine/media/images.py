"""A picture's bytes to RGB, by Pillow. Only in the decoding process."""

from io import BytesIO

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
    features,
)

from inference.engine.media import errors
from inference.engine.media.formats import CLIPS, PICTURES, SOUNDS, format_of, in_words
from inference.engine.media.limits import Limits
from inference.engine.media.wire import Pixels

PLUGINS = (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
"""All that are ever needed, loaded here: a locked-up process can't open a file to import one."""
READ = tuple(name for name in PICTURES if name != "AVIF" or features.check("avif"))
COLORS = ("1", "L", "P", "LA", "La", "PA", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr")
"""Pillow's modes that it makes RGB of by itself."""
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF's orientation; 1 is upright."""

Image.preinit()  # imports a few more when a first picture is opened, which would be too late


def decode(data: bytes, limits: Limits) -> tuple[Pixels, bytes]:
    """The first frame, upright, on white. Colour profiles are ignored: the models were trained on pixels that were read
    so, and a profile is one more thing that an evil picture could bring."""
    with opened(data, limits.image_pixels, limits.image_side) as image:
        load(image)
        # Read after loading: where the decoder has turned the picture already, it says so by then.
        upright = turned(image)
        shown = rgb(upright)
    return Pixels(shown.height, shown.width, str(image.format)), shown.tobytes()


def opened(data: bytes, pixels: int, side: int) -> Image.Image:
    """The header alone is read. Raises MediaError for what is no picture, or too large."""
    name = format_of(data)
    if name not in READ:
        raise refusal(name)
    # Pillow's decoder of WebP allocates before it tells us the size. It refuses what has twice as many pixels as this.
    Image.MAX_IMAGE_PIXELS = pixels // 2 if name == "WEBP" else None
    try:
        image = Image.open(BytesIO(data), formats=[name])
    except Image.DecompressionBombError:
        raise errors.too_large(f"The picture has more than {pixels:,} pixels, the limit here; scale it down.") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        raise errors.unreadable(f"The picture can't be read: its {name} header is damaged.") from None
    width, height = image.size
    if width * height > pixels or max(width, height) > side:
        raise errors.too_large(
            f"The picture is {width}×{height} pixels; at most {pixels:,} in all and {side:,} a side are read. "
            "Scale it down."
        )
    return image


def refusal(name: str | None) -> errors.MediaError:
    readable = f"{', '.join(READ[:-1])} and {READ[-1]} are read"
    if name in CLIPS:
        return errors.unreadable(f"This is no picture but {in_words(name)}; send it as a video. {readable}.")
    if name in SOUNDS:
        return errors.unreadable(f"This is no picture but {in_words(name)}. {readable}.")
    if name in ("HTML", "XML"):
        return errors.unreadable(f"This is no picture but {in_words(name)}; check the address. {readable}.")
    return errors.unsupported(f"The picture can't be read: it is {in_words(name)}. {readable}.")


def load(image: Image.Image) -> None:
    """Decodes. Raises MediaError for what is damaged."""
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:
        cut = "truncated" in str(error)
        what = "it ends too soon; send the whole file" if cut else "it is damaged"
        raise errors.unreadable(f"The picture can't be decoded: {what}.") from None


def turned(image: Image.Image) -> Image.Image:
    """As the camera was held, where EXIF says how."""
    try:
        orientation = image.getexif().get(ORIENTATION)
    except MemoryError:
        raise
    except Exception:  # what a camera wrote beside a sound picture is no reason to refuse it
        return image
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def rgb(image: Image.Image) -> Image.Image:
    """Eight bits a channel, transparency on white. Raises MediaError for pixels that are no colours."""
    mode = image.mode
    if mode.startswith("I;16"):
        # Pillow would cut off all that is brighter than 255.
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if mode in ("I", "F"):
        raise errors.unsupported("The picture has 32 bits a channel; send one with 8 or 16.")
    if mode not in COLORS:
        raise errors.unsupported(f"Pictures in {mode} colours can't be read; send RGB.")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layers = image.convert("RGBA")
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(layers, mask=layers.getchannel("A"))
    return white
