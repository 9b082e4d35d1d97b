"""Pictures, clips and sounds of every kind, made on the spot."""

import io
import struct
import zlib
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import av
import numpy as np
from PIL import Image

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def corners(width: int = 40, height: int = 20) -> Image.Image:
    """White, red at the upper left, green at the upper right, blue at the lower left: each turn looks different."""
    image = Image.new("RGB", (width, height), "white")
    half_width, half_height = width // 2, height // 2
    image.paste(RED, (0, 0, half_width, half_height))
    image.paste(GREEN, (half_width, 0, width, half_height))
    image.paste(BLUE, (0, half_height, half_width, height))
    return image


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png(width: int = 8, height: int = 8, color: Any = RED) -> bytes:
    return saved(Image.new("RGB", (width, height), color), "PNG")


def animation(format: str, colors: Iterable[Any], milliseconds: int | list[int] = 500, **options: Any) -> bytes:
    first, *others = [Image.new("RGB", (16, 8), color) for color in colors]
    return saved(first, format, save_all=True, append_images=others, duration=milliseconds, loop=0, **options)


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of zeros, a thousandth of its pixels long, made without holding them."""
    packer = zlib.compressobj(9)
    row = bytes(1 + width)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def clip(
    format: str = "mp4",
    codec: str = "libx264",
    *,
    frames: int = 24,
    rate: int = 8,
    size: tuple[int, int] = (64, 48),
    gop: int = 12,
    ticks: list[int] | None = None,
    **options: str,
) -> bytes:
    """Its frames get brighter one by one: `shade` says how bright. ticks: thousandths of seconds, if not regular."""
    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.gop_size = gop
        if ticks is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        container.start_encoding()  # writes the header, of a file without frames too
        for index in range(frames):
            plain = np.full((size[1], size[0], 3), shade(index), np.uint8)
            frame = av.VideoFrame.from_ndarray(plain, format="rgb24")
            if ticks is not None:
                frame.pts, frame.time_base = ticks[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def shade(index: int) -> int:
    return 8 + index * 6 % 240


def tone(seconds: float = 1.0, rate: int = 16_000, hertz: float = 440.0, channels: int = 1) -> np.ndarray:
    """(channels, samples), float32, of half the full height."""
    one = 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)
    return np.tile(one.astype(np.float32), (channels, 1))


def sound(format: str, codec: str, samples: np.ndarray, rate: int = 16_000, **options: Any) -> bytes:
    """samples: (channels, samples), float32."""
    file = io.BytesIO()
    layout = {1: "mono", 2: "stereo"}[len(samples)]
    with av.open(file, "w", format=format) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout, **options)
        resampler = av.AudioResampler(
            format=stream.codec_context.format, layout=layout, rate=rate, frame_size=stream.codec_context.frame_size
        )
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        pieces = [*resampler.resample(frame), *resampler.resample(None)] if samples.size else []
        container.start_encoding()
        for piece in pieces:
            container.mux(stream.encode(piece))
        container.mux(stream.encode())
    return file.getvalue()


def wav(seconds: float = 1.0, rate: int = 16_000, channels: int = 1) -> bytes:
    return sound("wav", "pcm_s16le", tone(seconds, rate, channels=channels), rate)
