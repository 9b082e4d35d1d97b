"""Scenes: what a picture shows, before anybody draws it, and which scenes are held out.

A scene is continuous (positions, sizes); its key names the combination of everything discrete in it: shapes,
colours, ninths of the picture, background. Keys decide by hash what training may see.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

SHAPES = ("circle", "square", "triangle", "star", "cross")

# Anchors of each colour (sRGB); a drawn colour lies between two of them, give or take a little.
COLOURS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "red": ((255, 0, 0), (220, 20, 40), (190, 25, 25)),
    "green": ((0, 128, 0), (0, 220, 0), (40, 160, 60)),
    "blue": ((0, 0, 255), (30, 60, 210), (40, 110, 235)),
    "yellow": ((255, 255, 0), (250, 222, 25), (240, 235, 60)),
    "orange": ((255, 165, 0), (255, 130, 0), (240, 125, 30)),
    "purple": ((128, 0, 128), (110, 30, 170), (155, 45, 200)),
    "black": ((0, 0, 0), (25, 25, 25)),
    "white": ((255, 255, 255), (238, 238, 238)),
}
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (252, 252, 252),
    "silver": (205, 205, 205),
    "grey": (95, 95, 95),
    "black": (6, 6, 6),
    "cream": (250, 240, 214),
    "sky": (205, 226, 246),
    "mint": (214, 242, 216),
    "navy": (18, 24, 72),
}
HELD_OUT_ONE_IN = 8
_CONTRAST = 110.0  # least distance in RGB between a shape and its background


@dataclass(frozen=True)
class Thing:
    """One shape. `x`, `y` are its centre and `size` its half width, all as fractions of the picture's sides
    (size: of the shorter side)."""

    shape: str
    colour: str
    rgb: tuple[int, int, int]
    x: float
    y: float
    size: float

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"

    @property
    def key(self) -> str:
        return f"{self.shape}.{self.colour}.{int(self.x * 3)}{int(self.y * 3)}"


@dataclass(frozen=True)
class Scene:
    """Things from left to right on a background; `aspect` is width / height."""

    things: tuple[Thing, ...]
    background: str
    background_rgb: tuple[int, int, int]
    aspect: float = 1.0

    @property
    def key(self) -> str:
        return "+".join(sorted(thing.key for thing in self.things)) + "@" + self.background

    def with_things(self, things: Sequence[Thing]) -> Scene:
        return replace(self, things=tuple(sorted(things, key=lambda thing: thing.x)))


def is_held_out(key: str) -> bool:
    """True for the one combination in HELD_OUT_ONE_IN that only scoring may use."""
    return hashlib.sha256(key.encode()).digest()[0] % HELD_OUT_ONE_IN == 0


def draw_rgb(rng: random.Random, colour: str) -> tuple[int, int, int]:
    """An sRGB value that people would call `colour`."""
    first, second = rng.choice(COLOURS[colour]), rng.choice(COLOURS[colour])
    mix, jitter = rng.random(), 8
    return _clip([a + (b - a) * mix + rng.uniform(-jitter, jitter) for a, b in zip(first, second, strict=True)])


def has_contrast(rgb: tuple[int, int, int], background: tuple[int, int, int]) -> bool:
    return math.dist(rgb, background) >= _CONTRAST


def draw_thing(rng: random.Random, background: tuple[int, int, int], size: tuple[float, float]) -> Thing:
    """A thing that stands out from `background`, somewhere near the middle; `_arrange` moves it."""
    while True:
        colour = rng.choice(tuple(COLOURS))
        rgb = draw_rgb(rng, colour)
        if has_contrast(rgb, background):
            return Thing(rng.choice(SHAPES), colour, rgb, 0.5, 0.5, rng.uniform(*size))


def draw_scene(rng: random.Random, count: int, *, aspect: float = 1.0) -> Scene:
    """A scene of `count` things (0 to 3) that do not touch and lie wholly inside."""
    background = rng.choice(tuple(BACKGROUNDS))
    rgb = _clip([channel + rng.uniform(-6, 6) for channel in BACKGROUNDS[background]])
    sizes = {0: (0.0, 0.0), 1: (0.18, 0.44), 2: (0.14, 0.25), 3: (0.13, 0.2)}[count]
    scene = Scene((), background, rgb, aspect)
    while True:
        placed = _arrange(rng, [draw_thing(rng, rgb, sizes) for _ in range(count)], aspect)
        if placed is not None:
            return scene.with_things(placed)


def place_freely(rng: random.Random, scene: Scene, thing: Thing) -> Thing | None:
    """`thing` at a random place clear of the scene's things; None where a few dozen tries find none."""
    placed = _arrange(rng, [thing], scene.aspect, around=scene.things)
    return None if placed is None else placed[0]


def margins(size: float, aspect: float) -> tuple[float, float]:
    """Least distance of a centre from the left and the top side, as fractions of width and height."""
    edge = size * 1.06
    return (edge / aspect, edge) if aspect >= 1 else (edge, edge * aspect)


def _arrange(
    rng: random.Random, things: Sequence[Thing], aspect: float, around: Sequence[Thing] = ()
) -> list[Thing] | None:
    placed = list(around)
    for thing in things:
        across, down = margins(thing.size, aspect)
        for _ in range(40):
            moved = replace(thing, x=rng.uniform(across, 1 - across), y=rng.uniform(down, 1 - down))
            if all(_clear(moved, other, aspect) for other in placed):
                placed.append(moved)
                break
        else:
            return None
    return placed[len(around) :]


def _clear(one: Thing, other: Thing, aspect: float) -> bool:
    across = (one.x - other.x) * max(aspect, 1.0)
    down = (one.y - other.y) / min(aspect, 1.0)
    # Two things whose left-to-right order is a matter of pixels would have no one right description.
    apart = max(abs(across), abs(down)) > (one.size + other.size) * 1.12
    return apart and abs(one.x - other.x) > 0.04


def _clip(values: Sequence[float]) -> tuple[int, int, int]:
    red, green, blue = (min(255, max(0, round(value))) for value in values)
    return red, green, blue
