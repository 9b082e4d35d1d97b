"""Draws scenes with PIL the ways people do: plain or smoothed edges, outlines, noise, blur, JPEG."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from inference.builtin.vision.scenes import Scene, Thing

Point = tuple[float, float]
_SMOOTH = 3  # drawn this many times larger, then reduced


@dataclass(frozen=True)
class Style:
    """How one picture is drawn. `width`, `height` in pixels; `noise` a standard deviation in levels of 255; `jpeg` a
    quality or 0 for none; `tilt` in degrees; `outline` the rim's share of the size, 0 for none; `shade`
    brightens the background from top to bottom by so many levels."""

    width: int
    height: int
    smooth: bool = True
    noise: float = 0.0
    jpeg: int = 0
    blur: float = 0.0
    tilt: float = 0.0
    squeeze: float = 1.0
    outline: float = 0.0
    shade: float = 0.0
    seed: int = 0


def draw_style(rng: random.Random, width: int, height: int) -> Style:
    """A random style for a picture of `width` × `height` pixels."""
    return Style(
        width=width,
        height=height,
        smooth=rng.random() < 0.6,
        noise=rng.uniform(1, 14) if rng.random() < 0.35 else 0.0,
        jpeg=rng.randint(45, 95) if rng.random() < 0.4 else 0,
        blur=rng.uniform(0.3, 0.9) if rng.random() < 0.12 else 0.0,
        tilt=rng.uniform(-9, 9) if rng.random() < 0.3 else 0.0,
        squeeze=rng.uniform(0.92, 1.08) if rng.random() < 0.4 else 1.0,
        outline=rng.uniform(0.05, 0.12) if rng.random() < 0.15 else 0.0,
        shade=rng.uniform(-25, 25) if rng.random() < 0.2 else 0.0,
        seed=rng.getrandbits(32),
    )


def draw_picture(scene: Scene, style: Style) -> Image.Image:
    """The scene as an RGB picture of style.width × style.height pixels."""
    scale = _SMOOTH if style.smooth else 1
    width, height = style.width * scale, style.height * scale
    image = Image.new("RGB", (width, height), scene.background_rgb)
    pen = ImageDraw.Draw(image)
    for thing in scene.things:
        _draw_thing(pen, thing, style, width, height)
    if scale > 1:
        image = image.resize((style.width, style.height), Image.Resampling.BOX)
    return _wear(image, style)


def _draw_thing(pen: ImageDraw.ImageDraw, thing: Thing, style: Style, width: int, height: int) -> None:
    radius = thing.size * min(width, height)
    centre = (thing.x * width, thing.y * height)
    points = _turn(_OUTLINES[thing.shape](), style.tilt)

    def fill(share: float, rgb: tuple[int, int, int]) -> None:
        (x, y), down = centre, radius * share
        across = down * style.squeeze
        if points:
            pen.polygon([(x + px * across, y + py * down) for px, py in points], fill=rgb)
        else:
            pen.ellipse((x - across, y - down, x + across, y + down), fill=rgb)

    fill(1.0, thing.rgb)
    if style.outline:
        fill(1.0, (60, 60, 60))
        fill(1 - style.outline, thing.rgb)


def _wear(image: Image.Image, style: Style) -> Image.Image:
    if style.blur:
        image = image.filter(ImageFilter.GaussianBlur(style.blur))
    if style.noise or style.shade:
        pixels = np.asarray(image, dtype=np.float32)
        noise = np.random.default_rng(style.seed).normal(0, style.noise, pixels.shape)
        ramp = np.linspace(-style.shade, style.shade, style.height)[:, None, None]
        image = Image.fromarray(np.clip(pixels + noise + ramp, 0, 255).astype(np.uint8))
    if style.jpeg:
        held = io.BytesIO()
        image.save(held, "JPEG", quality=style.jpeg)
        image = Image.open(held).convert("RGB")
    return image


def _turn(points: list[Point], degrees: float) -> list[Point]:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [(x * cosine - y * sine, x * sine + y * cosine) for x, y in points]


def _circle() -> list[Point]:
    return []  # an ellipse, not a polygon


def _square() -> list[Point]:
    return [(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)]


def _triangle() -> list[Point]:
    return [(0.0, -0.95), (0.98, 0.8), (-0.98, 0.8)]


def _star() -> list[Point]:
    corners = []
    for corner in range(10):
        reach, angle = (1.0 if corner % 2 == 0 else 0.42), math.pi * corner / 5
        corners.append((reach * math.sin(angle), -reach * math.cos(angle)))
    return corners


def _cross() -> list[Point]:
    arm = 0.33
    quarter = [(arm, -1.0), (arm, -arm), (1.0, -arm)]
    return [_turn([point], 90.0 * turn)[0] for turn in range(4) for point in quarter]


_OUTLINES: dict[str, Callable[[], list[Point]]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
}
