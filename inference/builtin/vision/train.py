"""Trains `atelier-tiny-vl`: `python -m inference.builtin.vision.train`.

Three lessons: the vision tower learns to see (sight.py), the whole model learns to answer, and then above all what
happens in clips. Every step draws its own cases from its own seed, so nothing is stored but checkpoints and a run
resumes where it was.
"""

from __future__ import annotations

import argparse
import random
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_vlm.models.qwen3_vl import Model, ModelConfig
from mlx_vlm.utils import load_processor

from inference.builtin.openblas import restart_with_openblas
from inference.builtin.vision.architecture import FOLDER, model_config, write_folder
from inference.builtin.vision.batches import Batch, make_batch
from inference.builtin.vision.cases import Case, draw_size, make_case
from inference.builtin.vision.faster import last_tokens, quicken
from inference.builtin.vision.lessons import Lesson, save_weights, teach
from inference.builtin.vision.sight import Heads, Sight, sight_batch, sight_loss
from inference.builtin.vision.tokenizer import train_tokenizer

_ROWS, _CLIP_ROWS = 16, 10
_CLIPS, _CLIPS_LAST = 0.4, 0.65  # of the steps of the second lesson, and of the third
_SHARES = {"colour": 3, "shape": 3, "among": 6, "describe": 3, "count": 4, "followup": 3, "compare": 6, "chat": 2}


def draw_cases(lesson: str, seed: int, step: int, clips: float) -> list[Case]:
    """The training cases of a step: clips, in so many of the steps, or pictures with some talk; all of one size, which
    is faster."""
    rng = random.Random(f"{lesson}:{seed}:{step}")
    if rng.random() < clips:
        size = draw_size(rng, 128)
        return [make_case(rng, "clip", held_out=False, size=size) for _ in range(_CLIP_ROWS)]
    size, skills = draw_size(rng), rng.choices(list(_SHARES), list(_SHARES.values()), k=_ROWS)
    # A batch without any picture would take another path through the model.
    return [make_case(rng, skill, held_out=False, size=size) for skill in ["colour", *skills[1:]]]


class Pupil(nn.Module):  # type: ignore[misc]  # mlx is untyped
    """The whole model and, so that it does not unlearn to see, the heads of the first lesson."""

    def __init__(self, model: Any, heads: Heads) -> None:
        super().__init__()
        self.model = model
        self.heads = heads


def told_loss(model: Any, batch: Batch) -> mx.array:
    """Mean cross entropy over the tokens of the answers, in nats."""
    logits = model(batch.input_ids, **batch.media).logits[:, :-1]
    losses = nn.losses.cross_entropy(logits, batch.input_ids[:, 1:])
    loss: mx.array = (losses * batch.weights).sum() / batch.weights.sum()
    return loss


def answer_loss(pupil: Pupil, batch: Batch) -> mx.array:
    """The same, and for pictures half the first lesson's loss."""
    loss = told_loss(pupil.model, batch)
    if batch.labels is not None:
        loss = loss + 0.5 * pupil.heads.loss(last_tokens(pupil.model.vision_tower), batch.labels)
    return loss


def train(arguments: argparse.Namespace) -> None:
    """Run from the last checkpoints to the end of the lessons and leave the model in arguments.output."""
    # Made aside: a new tokenizer beside the old weights would be a broken model until the end.
    seed, folder = arguments.seed, arguments.work / "model"
    mx.random.seed(seed)
    model = Model(ModelConfig.from_dict(model_config()))
    quicken(model.vision_tower)
    print(f"{sum(array.size for _, array in tree_flatten(model.parameters())):,} parameters", flush=True)
    if arguments.start is None:
        write_folder(folder, train_tokenizer(seed))
        begin(model, folder, arguments)
    else:
        shutil.copytree(arguments.start, folder, dirs_exist_ok=True)
        model.load_weights(str(folder / "model.safetensors"))
    processor = load_processor(folder)
    telling = Lesson(
        name="clips",
        steps=arguments.clip_steps,
        rate=arguments.clip_rate,
        batch=lambda step: (make_batch(processor, draw_cases("clips", seed, step, _CLIPS_LAST)),),
        loss=told_loss,
    )
    teach(model, telling, arguments.work)
    save_weights(model, folder / "model.safetensors")
    shutil.copytree(folder, arguments.output, dirs_exist_ok=True)


def begin(model: Any, folder: Path, arguments: argparse.Namespace) -> None:
    """The first two lessons."""
    seed, processor = arguments.seed, load_processor(folder)
    seeing = Lesson(
        name="sight",
        steps=arguments.sight_steps,
        rate=arguments.sight_rate,
        batch=lambda step: sight_batch(processor.image_processor, seed, step),
        loss=sight_loss,
    )
    answering = Lesson(
        name="answers",
        steps=arguments.steps,
        rate=arguments.rate,
        batch=lambda step: (make_batch(processor, draw_cases("train", seed, step, _CLIPS)),),
        loss=answer_loss,
    )
    heads = Heads(model.config.text_config.hidden_size)
    teach(Sight(model.vision_tower, heads), seeing, arguments.work)
    teach(Pupil(model, heads), answering, arguments.work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sight-steps", type=int, default=1400)
    parser.add_argument("--sight-rate", type=float, default=2e-3, help="peak learning rate of the first lesson")
    parser.add_argument("--steps", type=int, default=3150)
    parser.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate of the second lesson")
    parser.add_argument("--clip-steps", type=int, default=2400)
    parser.add_argument("--clip-rate", type=float, default=1e-3, help="peak learning rate of the third lesson")
    parser.add_argument("--start", type=Path, help="a model's folder to begin the third lesson with at once")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--output", type=Path, default=FOLDER, help="the model's folder")
    parser.add_argument("--work", type=Path, default=Path(".atelier/train-vl"), help="checkpoints; resumes from here")
    train(parser.parse_args())


if __name__ == "__main__":
    restart_with_openblas()
    main()
