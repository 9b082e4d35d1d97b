"""First lesson: the vision tower alone learns which shape and which colour covers each of its tokens.

Through the language model's answers alone shapes stayed at chance for a thousand steps: one word a picture says too
little. So a throw-away linear head gets a label for every token, and the pictures begin with one large thing in the
middle, without which the shapes stayed at chance even so.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from PIL import Image

from inference.builtin.vision.cases import draw_size
from inference.builtin.vision.drawing import draw_picture, draw_style
from inference.builtin.vision.scenes import COLOURS, SHAPES, Scene, draw_scene, is_held_out

PICTURES = 32  # a step
_WIDENING_STEPS = 500  # from one large thing in the middle to one of any size anywhere


class Heads(nn.Module):  # type: ignore[misc]  # mlx is untyped
    """What reads shape and colour off the tower's tokens of so many values."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shape_head = nn.Linear(width, len(SHAPES) + 1)
        self.colour_head = nn.Linear(width, len(COLOURS) + 1)

    def loss(self, tokens: mx.array, labels: mx.array) -> mx.array:
        """Mean cross entropy of both labels over all tokens, those with something on them counting three times.

        `tokens` [tokens, width] float32, `labels` [tokens, 2] int32 as of `token_labels`.
        """
        shapes, colours = labels[:, 0], labels[:, 1]
        weights = mx.where(shapes < len(SHAPES), 3.0, 1.0)
        losses = nn.losses.cross_entropy(self.shape_head(tokens), shapes)
        losses = losses + nn.losses.cross_entropy(self.colour_head(tokens), colours)
        mean: mx.array = (losses * weights).sum() / weights.sum()
        return mean


class Sight(nn.Module):  # type: ignore[misc]  # mlx is untyped
    """The tower with its heads; training it trains both in place."""

    def __init__(self, tower: Any, heads: Heads) -> None:
        super().__init__()
        self.tower = tower
        self.heads = heads


def sight_batch(image_processor: Any, seed: int, step: int) -> tuple[mx.array, mx.array, mx.array]:
    """Pictures of one size: pixels [patches, values], grids [pictures, 3] and every token's labels [tokens, 2]."""
    rng = random.Random(f"sight:{seed}:{step}")
    width, height = draw_size(rng) if step >= _WIDENING_STEPS else (96, 96)
    pictures: list[Image.Image] = []
    scenes: list[Scene] = []
    while len(scenes) < PICTURES:
        spread = (step + 1) / _WIDENING_STEPS
        if spread < 1:
            scene = _gathered(draw_scene(rng, 1, aspect=1.0), spread)
        else:
            scene = draw_scene(rng, rng.randint(1, 3), aspect=width / height)
        if not is_held_out(scene.key):
            scenes.append(scene)
            pictures.append(draw_picture(scene, draw_style(rng, width, height)))
    seen = image_processor(images=pictures)
    grids = seen["image_grid_thw"]
    labels = token_labels(scenes, grids, image_processor.merge_size)
    return mx.array(seen["pixel_values"]), mx.array(grids), mx.array(labels)


def sight_loss(sight: Sight, pixels: mx.array, grids: mx.array, labels: mx.array) -> mx.array:
    """The loss of the first lesson; arguments as `sight_batch` makes them."""
    tokens, _ = sight.tower(pixels, grids)
    return sight.heads.loss(tokens, labels)


def token_labels(scenes: Sequence[Scene], grids: np.ndarray, merge: int) -> np.ndarray:
    """[tokens of all pictures, 2] int32: the index of shape and colour of what covers each token, or the number of
    shapes and of colours where nothing does. `grids` [pictures, 3] counts patches, `merge`² of them make a token."""
    return np.concatenate([_labels(scene, grid[1:] // merge) for scene, grid in zip(scenes, grids, strict=True)])


def _gathered(scene: Scene, spread: float) -> Scene:
    """The scene with its one thing drawn to the middle and enlarged; `spread` 1 leaves it as it is."""
    thing = scene.things[0]
    x, y = (0.5 + (place - 0.5) * spread for place in (thing.x, thing.y))
    size = 0.36 + (thing.size - 0.36) * spread
    return scene.with_things(
        [replace(thing, x=x, y=y, size=min(size, x / 1.06, y / 1.06, (1 - x) / 1.06, (1 - y) / 1.06))]
    )


def _labels(scene: Scene, tokens: Sequence[int]) -> np.ndarray:
    """[rows * columns, 2] int32: shape and colour of what covers each token, row by row. A thing covers the tokens
    whose middle lies in its circle, and always the token of its centre."""
    rows, columns = int(tokens[0]), int(tokens[1])
    labels = np.tile(np.array([len(SHAPES), len(COLOURS)], dtype=np.int32), (rows, columns, 1))
    colours = tuple(COLOURS)
    wide, high = max(scene.aspect, 1.0), 1 / min(scene.aspect, 1.0)
    for thing in scene.things:
        label = (SHAPES.index(thing.shape), colours.index(thing.colour))
        labels[int(thing.y * rows), int(thing.x * columns)] = label
        for row in range(rows):
            for column in range(columns):
                across = ((column + 0.5) / columns - thing.x) * wide
                down = ((row + 0.5) / rows - thing.y) * high
                if math.hypot(across, down) < thing.size * 0.9:
                    labels[row, column] = label
    return labels.reshape(-1, 2)
