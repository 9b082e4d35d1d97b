"""Short clips in which one thing changes, and questions about what changed."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from inference.builtin.vision.questions import Turn, describe
from inference.builtin.vision.scenes import (
    COLOURS,
    SHAPES,
    Scene,
    Thing,
    draw_rgb,
    draw_scene,
    draw_thing,
    has_contrast,
    margins,
    place_freely,
)

CHANGES = ("colour", "shape", "left", "right", "up", "down", "appears", "disappears", "grows", "shrinks", "nothing")
_WEIGHTS = (16, 16, 9, 9, 9, 9, 9, 9, 5, 5, 6)
_MOVES = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


@dataclass(frozen=True)
class Clip:
    """`scenes` are the frames in order; `before` and `after` the changing thing (equal where it stays what it is)."""

    scenes: tuple[Scene, ...]
    change: str
    before: Thing
    after: Thing

    @property
    def key(self) -> str:
        return f"{self.change}:{self.scenes[0].key}>{self.scenes[-1].key}"


def draw_clip(rng: random.Random, frames: int, aspect: float) -> Clip:
    """A clip of `frames` (at least 2) frames in which at most one thing changes, a bystander in some of them."""
    change = rng.choices(CHANGES, _WEIGHTS)[0]
    while True:
        clip = _try_clip(rng, change, frames, aspect)
        if clip is not None:
            return clip


def ask_change(rng: random.Random, clip: Clip) -> Turn:
    """What changes in the clip, mostly in general, now and then about the direction, one end or the colour there."""
    if rng.random() < 0.15:
        end, scene = rng.choice((("first", clip.scenes[0]), ("last", clip.scenes[-1])))
        return f"What is in the {end} frame?", describe(scene.things)
    roll = rng.random()
    if clip.change in _MOVES and roll < 0.25:
        question = rng.choice(("Which way does it move?", "In which direction does it move?",
                               f"Which way does the {clip.before.shape} move?", "Where does it go?"))  # fmt: skip
        return question, clip.change
    if clip.change == "colour" and roll < 0.25:
        thing, when = rng.choice(((clip.before, "at the start"), (clip.after, "at the end")))
        return f"What colour is the {thing.shape} {when}?", thing.colour
    question = rng.choice(("What changes?", "What happens?", "What happens in the clip?", "What changes in this video?",
                           "What changes between the first and the last frame?", "Describe the clip.",
                           "What is different at the end?", "What happens in this video?"))  # fmt: skip
    return question, _tell(clip)


def _tell(clip: Clip) -> str:
    # As in comparisons, first what is seen at both ends, then the verdict.
    first, last = (_uncapped(describe(scene.things)) for scene in (clip.scenes[0], clip.scenes[-1]))
    return f"First {first}, then {last}: {_verdict(clip)}."


def _verdict(clip: Clip) -> str:
    name = clip.before.name
    if clip.change == "colour":
        return f"the {clip.before.shape} turns from {clip.before.colour} to {clip.after.colour}"
    if clip.change == "shape":
        return f"the {name} turns into a {clip.after.shape}"
    if clip.change == "nothing":
        return "nothing changes"
    verb = f"moves {clip.change}" if clip.change in _MOVES else clip.change
    return f"the {name} {verb}"


def _uncapped(sentence: str) -> str:
    return (sentence[0].lower() + sentence[1:]).removesuffix(".")


def _try_clip(rng: random.Random, change: str, frames: int, aspect: float) -> Clip | None:
    still = draw_scene(rng, 1 if rng.random() < 0.3 else 0, aspect=aspect)
    still = still.with_things([replace(thing, size=min(thing.size, 0.2)) for thing in still.things])
    size = (0.14, 0.2) if change == "grows" else (0.26, 0.34) if change == "shrinks" else (0.14, 0.28)
    before = place_freely(rng, still, draw_thing(rng, still.background_rgb, size))
    if before is None:
        return None
    after = _changed(rng, before, change, still)
    if after is None:
        return None
    turning = rng.randint(1, frames - 1)  # the first frame that shows the new state, where it comes at once
    scenes = []
    for index in range(frames):
        share = index / (frames - 1)
        there = (before,) if change != "appears" or index >= turning else ()
        if change in _MOVES or change in ("grows", "shrinks"):
            there = (_between(before, after, share),)
        elif change in ("colour", "shape") and index >= turning:
            there = (after,)
        elif change == "disappears" and index >= turning:
            there = ()
        if any(_touch(one, other) for one in there for other in still.things):
            return None
        scenes.append(still.with_things((*still.things, *there)))
    return Clip(tuple(scenes), change, before, after)


def _changed(rng: random.Random, thing: Thing, change: str, scene: Scene) -> Thing | None:
    if change == "colour":
        colour = rng.choice([one for one in COLOURS if one != thing.colour])
        rgb = draw_rgb(rng, colour)
        return replace(thing, colour=colour, rgb=rgb) if has_contrast(rgb, scene.background_rgb) else None
    if change == "shape":
        return replace(thing, shape=rng.choice([one for one in SHAPES if one != thing.shape]))
    if change in ("grows", "shrinks"):
        factor = rng.uniform(1.6, 2.1) if change == "grows" else rng.uniform(0.45, 0.6)
        grown = replace(thing, size=thing.size * factor)
        return grown if _inside(grown, scene.aspect) else None
    if change in _MOVES:
        across, down = _MOVES[change]
        reach = rng.uniform(0.3, 0.6)
        moved = replace(thing, x=thing.x + across * reach, y=thing.y + down * reach)
        return moved if _inside(moved, scene.aspect) else None
    return thing


def _between(before: Thing, after: Thing, share: float) -> Thing:
    x, y, size = (
        start + (end - start) * share
        for start, end in ((before.x, after.x), (before.y, after.y), (before.size, after.size))
    )
    return replace(before, x=x, y=y, size=size)


def _inside(thing: Thing, aspect: float) -> bool:
    across, down = margins(thing.size, aspect)
    return across <= thing.x <= 1 - across and down <= thing.y <= 1 - down


def _touch(one: Thing, other: Thing) -> bool:
    # Fractions of unlike sides: counting both as the longer one only rejects a few clips too many.
    return max(abs(one.x - other.x), abs(one.y - other.y)) < (one.size + other.size) * 1.1
