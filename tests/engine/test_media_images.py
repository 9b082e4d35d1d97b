"""Pictures, from bytes to RGB: every kind, upright, on white, and what is none."""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, TiffImagePlugin

from inference.engine.media.decoder import Decoder
from inference.engine.media.errors import MediaError
from inference.engine.media.limits import Limits
from tests.support.media_made import BLUE, GREEN, RED, animation, chunk, corners, png, png_bomb, saved, wav

WHITE = (255, 255, 255)


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(workers=1) as running:
        yield running


def refused(decoder: Decoder, data: bytes) -> MediaError:
    with pytest.raises(MediaError) as caught:
        decoder.image(data)
    return caught.value


def at_corners(pixels: np.ndarray) -> list[tuple[int, ...]]:
    """Upper left, upper right, lower left, lower right."""
    return [tuple(int(value) for value in pixels[row, column]) for row in (1, -2) for column in (1, -2)]


def near(pixels: np.ndarray, color: Any, by: int = 6) -> bool:
    return bool((np.abs(pixels.astype(int) - np.array(color)) <= by).all())


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP", "TIFF"])
def test_pictures_without_loss_come_out_as_they_went_in(decoder: Decoder, format: str) -> None:
    original = Image.effect_noise((37, 23), 80).convert("RGB")
    picture = decoder.image(saved(original, format, **({"lossless": True} if format == "WEBP" else {})))
    assert picture.format == format
    assert picture.pixels.dtype == np.uint8 and picture.pixels.shape == (23, 37, 3)
    assert (picture.pixels == np.asarray(original)).all()


@pytest.mark.parametrize("format", ["JPEG", "GIF", "AVIF"])
def test_other_pictures_come_out_nearly(decoder: Decoder, format: str) -> None:
    picture = decoder.image(saved(corners(), format, quality=95))
    assert picture.format == format and picture.pixels.shape == (20, 40, 3)
    for found, wanted in zip(at_corners(picture.pixels), (RED, GREEN, BLUE, WHITE), strict=True):
        assert near(np.array(found), wanted, 12)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_the_camera_was_held(decoder: Decoder, format: str, orientation: int) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = corners(64, 32).transpose(undo[orientation]) if orientation in undo else corners(64, 32)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decoder.image(saved(stored, format, exif=exif, **({"quality": 95} if format != "TIFF" else {})))
    assert picture.pixels.shape == (32, 64, 3)
    for found, wanted in zip(at_corners(picture.pixels), (RED, GREEN, BLUE, WHITE), strict=True):
        assert near(np.array(found), wanted, 16)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0rubbish", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"]
)
def test_broken_exif_is_no_reason_to_refuse(decoder: Decoder, exif: bytes) -> None:
    assert decoder.image(saved(corners(), "JPEG", exif=exif)).pixels.shape == (20, 40, 3)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_there_is_not_turns_nothing(decoder: Decoder, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert decoder.image(saved(corners(), "PNG", exif=exif)).pixels.shape == (20, 40, 3)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_shown(decoder: Decoder, format: str) -> None:
    assert near(decoder.image(animation(format, [RED, GREEN, BLUE])).pixels, RED)


def test_transparency_becomes_white(decoder: Decoder) -> None:
    layers = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        layers.putpixel((x, 0), (200, 0, 0, alpha))
    for format, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})):
        pixels = decoder.image(saved(layers, format, **options)).pixels
        assert [tuple(map(int, value)) for value in pixels[0]] == [WHITE, (227, 127, 127), (200, 0, 0)]
    grey = Image.new("LA", (1, 1), (0, 0))
    assert near(decoder.image(saved(grey, "PNG")).pixels, WHITE, 0)
    palette = Image.new("P", (1, 1), 0)
    palette.putpalette([1, 2, 3])
    assert near(decoder.image(saved(palette, "PNG", transparency=0)).pixels, WHITE, 0)
    assert near(decoder.image(saved(palette, "GIF", transparency=0)).pixels, WHITE, 0)
    assert near(
        decoder.image(saved(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG", transparency=(9, 8, 7))).pixels, WHITE, 0
    )


def test_palettes_single_bits_and_greys(decoder: Decoder) -> None:
    assert near(decoder.image(saved(corners().convert("P"), "PNG")).pixels[1, 1], RED)
    bits = Image.new("1", (2, 1))
    bits.putpixel((1, 0), 1)
    for format in ("PNG", "TIFF", "BMP"):
        assert decoder.image(saved(bits, format)).pixels.tolist() == [[[0] * 3, [255] * 3]]
    for format in ("PNG", "JPEG"):
        assert near(decoder.image(saved(Image.new("L", (8, 8), 77), format)).pixels, (77, 77, 77), 1)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_cut_off(decoder: Decoder, format: str) -> None:
    values = np.array([[0, 128, 255, 256, 32768, 65535]], np.uint16)
    pixels = decoder.image(saved(Image.fromarray(values), format)).pixels
    assert pixels[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]


def test_sixteen_bits_of_each_colour(decoder: Decoder) -> None:
    row = b"\0" + struct.pack(">6H", 65535, 0, 0, 0, 0x8080, 65535)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    assert decoder.image(data).pixels.tolist() == [[[255, 0, 0], [0, 128, 255]]]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_that_are_no_colours_are_refused(decoder: Decoder, mode: str) -> None:
    error = refused(decoder, saved(Image.new(mode, (4, 4)), "TIFF"))
    assert error.code == "media_unsupported" and "32 bits" in error.message


def test_colours_for_printing(decoder: Decoder) -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    for format in ("JPEG", "TIFF"):
        assert near(decoder.image(saved(cyan, format)).pixels, (0, 255, 255))
    # As Adobe writes them, with a transform to YCCK: the same markers with the flag changed.
    plain = saved(cyan, "JPEG", quality=100)
    adobe = plain.index(b"Adobe")
    ycck = plain[: adobe + 11] + b"\x02" + plain[adobe + 12 :]
    assert decoder.image(ycck).pixels.shape == (16, 16, 3)


def test_lab_colours_are_read_or_refused_with_a_reason(decoder: Decoder) -> None:
    error = refused(decoder, saved(Image.new("LAB", (4, 4)), "TIFF"))
    assert error.code == "media_unsupported" and "LAB" in error.message


def test_colour_profiles_are_ignored(decoder: Decoder) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for odd in (profile, b"rubbish"):
        assert (decoder.image(saved(corners(), "PNG", icc_profile=odd)).pixels == np.asarray(corners())).all()


def test_one_pixel_is_a_picture(decoder: Decoder) -> None:
    assert decoder.image(png(1, 1)).pixels.tolist() == [[list(RED)]]


def test_digests_tell_pictures_apart_and_files_too(decoder: Decoder) -> None:
    first, again = decoder.image(png()), decoder.image(png())
    other_file = decoder.image(saved(Image.new("RGB", (8, 8), RED), "BMP"))
    other_picture, other_shape = decoder.image(png(color=BLUE)), decoder.image(png(4, 16))
    assert first.digest == again.digest == other_file.digest
    assert first.source_digest == again.source_digest != other_file.source_digest
    assert len({first.digest, other_picture.digest, other_shape.digest}) == 3
    assert not first.pixels.flags.writeable


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "AVIF"])
def test_truncated_pictures_are_refused(decoder: Decoder, format: str) -> None:
    whole = saved(Image.effect_noise((64, 64), 80).convert("RGB"), format)
    for share in (0.95, 0.5, 0.1):
        assert refused(decoder, whole[: int(len(whole) * share)]).code == "media_unreadable"
    for length in (1, 2, 8, 12, 30):
        assert refused(decoder, whole[:length]).code in ("media_unreadable", "media_unsupported")


def test_nothing_is_refused(decoder: Decoder) -> None:
    error = refused(decoder, b"")
    assert error.code == "media_unreadable" and "no bytes" in error.message


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b'<svg xmlns="http://www.w3.org/2000/svg"></svg>', "SVG"),
        (b'<?xml version="1.0"?>\n<!-- a -->\n<svg width="1"/>', "SVG"),
        (b"<!DOCTYPE html><html><body>Not found</body></html>", "web page"),
        (b"\xef\xbb\xbf\n <html>", "web page"),
        (b"%PDF-1.7\n", "PDF"),
        (b"PK\x03\x04rest", "ZIP"),
        (b"\x1f\x8b\x08rest", "GZIP"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "HEIC"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", "as a video"),
        (b"#EXTM3U\nhttp://127.0.0.1/", "playlist"),
        (wav(0.01), "WAV"),
        (b"hello", "no known format"),
        (b"P6 1 1 255\n\0\0\0", "no known format"),
        (b"\x0a\x05\x01\x08" + bytes(200), "no known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "no known format"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_said_to_be_none(decoder: Decoder, data: bytes, word: str) -> None:
    error = refused(decoder, data)
    assert error.code in ("media_unreadable", "media_unsupported") and word in error.message


def test_bytes_that_are_two_things_are_what_they_begin_as(decoder: Decoder) -> None:
    picture = png()
    assert (
        decoder.image(picture + b"PK\x03\x04<html><script>alert(1)</script>%PDF").digest
        == decoder.image(picture).digest
    )
    assert refused(decoder, b"%PDF-1.4\n" + picture).code == "media_unsupported"


def test_bombs_are_refused_before_they_go_off(decoder: Decoder) -> None:
    bomb = png_bomb(20_000, 20_000)
    assert len(bomb) < 500_000
    error = refused(decoder, bomb)
    assert error.code == "media_too_large" and "50,000,000" in error.message


def header_only(format: str, width: int, height: int) -> bytes:
    """A picture that says that it is so large, and has next to nothing behind that."""
    match format:
        case "PNG":
            return png_bomb(1, 1).replace(
                chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
                chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
            )
        case "GIF":
            return b"GIF89a" + struct.pack("<HH", width, height) + saved(Image.new("L", (1, 1)), "GIF")[10:]
        case "BMP":
            plain = bytearray(saved(Image.new("RGB", (1, 1)), "BMP"))
            plain[18:26] = struct.pack("<ii", width, height)
            return bytes(plain)
        case "JPEG":
            plain = saved(Image.new("RGB", (8, 8)), "JPEG")
            start = plain.index(b"\xff\xc0")
            return plain[: start + 5] + struct.pack(">HH", height, width) + plain[start + 9 :]
        case "WEBP":
            plain = animation("WEBP", [RED, BLUE])  # whose frames may be smaller than the whole
            start = plain.index(b"VP8X") + 12
            return (
                plain[:start]
                + (width - 1).to_bytes(3, "little")
                + (height - 1).to_bytes(3, "little")
                + plain[start + 6 :]
            )
        case _:
            tags = TiffImagePlugin.ImageFileDirectory_v2()
            file = io.BytesIO()
            for tag, value in {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 1}.items():
                tags[tag] = value
            file.write(b"II*\0\x08\0\0\0")
            tags.save(file)
            return file.getvalue()


@pytest.mark.parametrize("format", ["PNG", "GIF", "BMP", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize(("width", "height"), [(16_000, 16_000), (16_385, 8), (10_000, 5_001)])
def test_sizes_are_checked_in_the_header(decoder: Decoder, format: str, width: int, height: int) -> None:
    decoder.image(png())
    processes = decoder.processes
    error = refused(decoder, header_only(format, width, height))
    assert error.code == "media_too_large", error.message
    assert decoder.processes == processes, "nothing had to die for it"


def test_limits_hold_to_the_pixel() -> None:
    with Decoder(Limits(image_pixels=100, image_side=50), workers=1) as decoder:
        assert decoder.image(png(10, 10)).pixels.shape == (10, 10, 3)
        assert decoder.image(png(2, 50)).pixels.shape == (50, 2, 3)
        for width, height in ((101, 1), (1, 51), (11, 10)):
            error = refused(decoder, png(width, height))
            assert error.code == "media_too_large" and f"{width}×{height}" in error.message


def test_zipped_texts_and_profiles_in_pictures_do_not_go_off(decoder: Decoder) -> None:
    packed = zlib.compress(bytes(200_000_000), 9)
    whole = png()
    at = whole.index(b"IDAT") - 4
    for bomb in (chunk(b"zTXt", b"a\0\0" + packed), chunk(b"iCCP", b"a\0\0" + packed)):
        data = whole[:at] + bomb + whole[at:]
        try:
            assert decoder.image(data).pixels.shape == (8, 8, 3)
        except MediaError as error:
            assert error.code == "media_unreadable"
    assert decoder.image(png()).pixels.shape == (8, 8, 3)


def test_messages_say_nothing_of_us(decoder: Decoder) -> None:
    for data in (b"x", png()[:40], saved(corners(), "JPEG")[:200], saved(corners(), "TIFF")[:-100], b"GIF89a"):
        message = refused(decoder, data).message
        assert "/" not in message.replace("MP4/", "") and "Error" not in message and "PIL" not in message
