"""Cases: a dialogue with its pictures or its clip, made from a seed, for training or held out for scoring."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from inference.builtin.vision.clips import ask_change, draw_clip
from inference.builtin.vision.drawing import draw_picture, draw_style
from inference.builtin.vision.questions import SINGLE, Turn, ask_comparison, ask_without_picture, vary
from inference.builtin.vision.scenes import COLOURS, Scene, draw_rgb, draw_scene, is_held_out

SKILLS = ("colour", "shape", "among", "count", "describe", "followup", "compare", "clip", "chat")
SQUARES = (64, 80, 96, 96, 112, 128, 128, 160, 192, 256)
_SYSTEMS = ("You are a helpful assistant.", "You are a helpful vision assistant.", "Answer briefly.", "Be concise.",
            "You answer questions about pictures.", "You are Atelier's demo model.")  # fmt: skip
_PLAIN_QUESTIONS = ("What colour is it?", "What colour is this?", "What colour is this picture?", "Name the colour.",
                    "Which colour is this?", "What colour is the picture?", "What colour do you see?")  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One dialogue. `pictures`, which show `scenes`, and `clip` (frames in order) belong to its first question; `fps`
    is the clip's rate."""

    skill: str
    key: str
    turns: tuple[Turn, ...]
    pictures: tuple[Image.Image, ...] = ()
    scenes: tuple[Scene, ...] = ()
    clip: tuple[Image.Image, ...] = ()
    fps: float = 2.0
    system: str | None = None
    text_first: bool = False

    def messages(self, *, answered: bool) -> list[dict[str, Any]]:
        """The dialogue as chat messages; without the last answer unless `answered`."""
        media = [{"type": "image"} for _ in self.pictures] + ([{"type": "video"}] if self.clip else [])
        messages: list[dict[str, Any]] = [{"role": "system", "content": self.system}] if self.system else []
        for index, (question, answer) in enumerate(self.turns):
            text = [{"type": "text", "text": question}]
            content: Any = question if index or not media else text + media if self.text_first else media + text
            messages.append({"role": "user", "content": content})
            messages.append({"role": "assistant", "content": answer})
        return messages if answered else messages[:-1]


def make_case(rng: random.Random, skill: str, *, held_out: bool, size: tuple[int, int] | None = None) -> Case:
    """A case of `skill` whose combination is held out, or is not. `size` (width, height) fixes the pictures' size.

    Held-out cases have one question (two for `followup`), training cases up to three about the same picture.
    """
    maker = {"compare": _make_comparison, "clip": _make_clip, "chat": _make_talk}.get(skill, _make_single)
    while True:
        case = maker(rng, skill, held_out, size)
        if case is not None:
            break
    if rng.random() < 0.15:
        case = replace(case, system=rng.choice(_SYSTEMS))
    return replace(case, text_first=rng.random() < 0.15)


def draw_size(rng: random.Random, largest: int = 256) -> tuple[int, int]:
    """Width and height of a picture in pixels: mostly square, never narrower than 1 : 2."""
    if rng.random() < 0.6:
        side = min(largest, rng.choice(SQUARES))
        return side, side
    short = rng.randint(64, min(160, largest))
    long = min(largest, round(short * rng.uniform(1.0, 1.9)))
    return (short, long) if rng.random() < 0.5 else (long, short)


def _make_single(rng: random.Random, skill: str, held_out: bool, size: tuple[int, int] | None) -> Case | None:
    width, height = size or draw_size(rng)
    if skill == "colour" and not held_out and rng.random() < 0.08:
        return _make_plain(rng, width, height)
    # `colour` and `shape` are asked of a thing alone, `among` asks either of one thing among others.
    weights = {"colour": (1, 0, 0), "shape": (1, 0, 0), "among": (0, 6, 4)}.get(skill, (3, 4, 3))
    count = rng.choices((1, 2, 3), weights)[0]
    scene = draw_scene(rng, count, aspect=width / height)
    if skill in ("count", "followup") and rng.random() < 0.5:
        scene = _alike(rng, scene)
    if is_held_out(scene.key) != held_out:
        return None
    kinds = list(SINGLE)
    if skill == "among":
        wanted = [rng.choice(("colour", "shape"))]
    else:
        wanted = [skill] if skill in SINGLE else rng.sample(kinds, 2)
    if not held_out:
        others = [kind for kind in kinds if kind not in wanted]
        wanted += rng.sample(others, rng.choice((0, 1, 1, 2)))
        rng.shuffle(wanted)
    turns = [turn for kind in wanted if (turn := SINGLE[kind](rng, scene)) is not None]
    if not turns or (held_out and len(turns) != len(wanted)):
        return None
    varied = tuple((vary(rng, question), answer) for question, answer in turns)
    return Case(skill, scene.key, varied, (draw_picture(scene, draw_style(rng, width, height)),), (scene,))


def _make_plain(rng: random.Random, width: int, height: int) -> Case:
    """A picture of one colour all over: too few combinations to hold any out, but people try it first."""
    colour = rng.choice(tuple(COLOURS))
    scene = Scene((), "plain", draw_rgb(rng, colour), width / height)
    question = rng.choice(_PLAIN_QUESTIONS)
    picture = draw_picture(scene, draw_style(rng, width, height))
    return Case("colour", f"plain.{colour}", ((vary(rng, question), colour),), (picture,), (scene,))


def _make_comparison(rng: random.Random, skill: str, held_out: bool, size: tuple[int, int] | None) -> Case | None:
    sizes = [size or draw_size(rng, 160) for _ in range(2)]
    if rng.random() < 0.5:
        sizes[1] = sizes[0]
    scenes = [draw_scene(rng, 1, aspect=width / height) for width, height in sizes]
    first, second = (scene.things[0] for scene in scenes)
    # Left to chance two things rarely share anything, and every answer would be "No".
    if rng.random() < 0.45:
        second = replace(second, shape=first.shape)
    if rng.random() < 0.4:
        if scenes[1].background != scenes[0].background:
            scenes[1] = replace(scenes[0], aspect=scenes[1].aspect)
        second = replace(second, colour=first.colour, rgb=first.rgb)
    scenes[1] = scenes[1].with_things([second])
    key = "|".join(scene.key for scene in scenes)
    if is_held_out(key) != held_out or (not held_out and _shows_held_out(scenes)):
        return None
    turns = [ask_comparison(rng, first, second)]
    if not held_out and rng.random() < 0.6:
        turns.append(ask_comparison(rng, first, second))
    pictures = [draw_picture(scene, draw_style(rng, *wide)) for scene, wide in zip(scenes, sizes, strict=True)]
    varied = tuple((vary(rng, question), answer) for question, answer in turns)
    return Case(skill, key, varied, tuple(pictures), tuple(scenes))


def _make_clip(rng: random.Random, skill: str, held_out: bool, size: tuple[int, int] | None) -> Case | None:
    width, height = size or draw_size(rng, 128)
    clip = draw_clip(rng, rng.choice((2, 3, 4, 4, 4, 5, 6, 6, 8)), width / height)
    if is_held_out(clip.key) != held_out or (not held_out and _shows_held_out(clip.scenes)):
        return None
    style = draw_style(rng, width, height)
    frames = [draw_picture(scene, replace(style, seed=style.seed + index)) for index, scene in enumerate(clip.scenes)]
    turns = [ask_change(rng, clip)]
    if not held_out and rng.random() < 0.5:
        turns.append(ask_change(rng, clip))
    varied = tuple((vary(rng, question), answer) for question, answer in turns)
    return Case(skill, clip.key, varied, clip=tuple(frames), fps=rng.choice((1.0, 2.0, 2.0, 4.0, 10.0)))


def _make_talk(rng: random.Random, skill: str, held_out: bool, size: tuple[int, int] | None) -> Case | None:
    question, answer = ask_without_picture(rng)
    if is_held_out(question) != held_out:
        return None
    return Case(skill, question, ((question, answer),))


def _shows_held_out(scenes: Sequence[Scene]) -> bool:
    """A pair or a clip may not show in training what is held out as a picture of its own."""
    return any(is_held_out(scene.key) for scene in scenes)


def _alike(rng: random.Random, scene: Scene) -> Scene:
    """The scene with the first thing's shape, its colour or both given to all the others."""
    first, both = scene.things[0], rng.random()
    things = [replace(thing, shape=first.shape) if both < 0.7 else thing for thing in scene.things]
    return scene.with_things(
        [replace(thing, colour=first.colour, rgb=first.rgb) if both > 0.4 else thing for thing in things]
    )
