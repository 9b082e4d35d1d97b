"""Trains `atelier-tiny-vl`: `python -m inference.builtin.vision.train`.

Every step draws its own cases from its own seed, so nothing is stored but checkpoints and a run resumes where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_unflatten
from mlx_vlm.models.qwen3_vl import Model, ModelConfig
from mlx_vlm.utils import load_processor

from inference.builtin.vision.architecture import FOLDER, model_config, write_folder
from inference.builtin.vision.batches import Batch, make_batch
from inference.builtin.vision.cases import Case, make_case
from inference.builtin.vision.openblas import ensure_openblas
from inference.builtin.vision.tokenizer import train_tokenizer

WARM_UP = 150  # steps
ROWS = 16
CLIP_ROWS = 10
# From which step on, which share of the steps are clips, and how often each skill comes in the others.
STAGES: tuple[tuple[int, float, dict[str, float]], ...] = (
    (0, 0.0, {"colour": 5, "shape": 5, "describe": 3, "count": 2, "chat": 1}),
    (800, 0.25, {"colour": 4, "shape": 4, "describe": 3, "count": 3, "followup": 2, "compare": 4, "chat": 1}),
)


class QuickGELU(nn.Module):  # type: ignore[misc]  # mlx is untyped
    """GELU's tanh form, equal to nn.GELU(approx="tanh") within 1e-6: on the CPU a third of its time, because that one
    raises to the third power element by element."""

    def __call__(self, x: mx.array) -> mx.array:
        return x * mx.sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x * x * x))


def draw_cases(seed: int, step: int) -> list[Case]:
    """The training cases of a step: pictures with some talk, or clips."""
    rng = random.Random(f"train:{seed}:{step}")
    _, clips, shares = [stage for stage in STAGES if step >= stage[0]][-1]
    if rng.random() < clips:
        return [make_case(rng, "clip", held_out=False) for _ in range(CLIP_ROWS)]
    skills = rng.choices(list(shares), list(shares.values()), k=ROWS)
    # A batch without any picture would take another path through the model.
    return [make_case(rng, skill, held_out=False) for skill in ["colour", *skills[1:]]]


def loss_of(model: Any, batch: Batch) -> mx.array:
    """Mean cross entropy over the tokens of the answers, in nats."""
    logits = model(batch.input_ids, **batch.media).logits[:, :-1]
    losses = nn.losses.cross_entropy(logits, batch.input_ids[:, 1:])
    mean: mx.array = (losses * batch.weights).sum() / batch.weights.sum()
    return mean


def rate_at(step: int, steps: int, peak: float) -> float:
    """Learning rate: up in a line, down along a cosine to a fiftieth."""
    if step < WARM_UP:
        return peak * (step + 1) / WARM_UP
    share = (step - WARM_UP) / max(1, steps - WARM_UP)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


class Checkpoint:
    """Weights, optimizer state and log of a run in one folder, whole at all times."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, model: Any, optimizer: optim.Optimizer) -> list[dict[str, float]]:
        """Restore model and optimizer; the log so far, empty where there is no checkpoint."""
        if not (self.folder / "log.json").exists():
            return []
        log: list[dict[str, float]] = json.loads((self.folder / "log.json").read_text())
        model.load_weights(str(self.folder / "model.safetensors"))
        state: Any = mx.load(str(self.folder / "optimizer.safetensors"))
        optimizer.state = tree_unflatten(list(state.items()))
        return log

    def save(self, model: Any, optimizer: optim.Optimizer, log: list[dict[str, float]]) -> None:
        fresh = self.folder.with_name(self.folder.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        save_weights(model, fresh / "model.safetensors")
        mx.save_safetensors(str(fresh / "optimizer.safetensors"), dict(tree_flatten(optimizer.state)))
        (fresh / "log.json").write_text(json.dumps(log))
        shutil.rmtree(self.folder, ignore_errors=True)
        fresh.rename(self.folder)


def save_weights(model: Any, path: Path) -> None:
    """Float32 weights in MLX's layout."""
    mx.save_safetensors(str(path), dict(tree_flatten(model.parameters())), metadata={"format": "mlx"})


def train(arguments: argparse.Namespace) -> None:
    """Run from the last checkpoint to the last step and leave the model in arguments.output."""
    output: Path = arguments.output
    write_folder(output, train_tokenizer(arguments.seed))
    processor = load_processor(output)
    mx.random.seed(arguments.seed)
    model = Model(ModelConfig.from_dict(model_config()))
    for block in model.vision_tower.blocks:
        block.mlp.act_fn = QuickGELU()
    print(f"{sum(array.size for _, array in tree_flatten(model.parameters())):,} parameters", flush=True)
    optimizer = optim.AdamW(learning_rate=arguments.rate, weight_decay=0.02, betas=[0.9, 0.98], bias_correction=True)
    checkpoint = Checkpoint(arguments.work)
    log = checkpoint.load(model, optimizer)
    step_of = nn.value_and_grad(model, loss_of)
    first = int(log[-1]["step"]) if log else 0
    spent, started, total, counted = (log[-1]["seconds"] if log else 0.0), time.monotonic(), 0.0, 0
    for step in range(first, arguments.steps):
        optimizer.learning_rate = mx.array(rate_at(step, arguments.steps, arguments.rate))
        loss, gradients = step_of(model, make_batch(processor, draw_cases(arguments.seed, step)))
        gradients, _ = optim.clip_grad_norm(gradients, 1.0)
        optimizer.update(model, gradients)
        mx.eval(model.parameters(), optimizer.state, loss)
        total, counted = total + loss.item(), counted + 1
        done = step + 1
        if done % 50 == 0 or done == arguments.steps:
            seconds = spent + time.monotonic() - started
            log.append({"step": done, "loss": round(total / counted, 4), "seconds": round(seconds, 1)})
            print(f"step {done:5d}  loss {total / counted:.4f}  {seconds:6.0f} s", flush=True)
            total, counted = 0.0, 0
        if done % 250 == 0 or done == arguments.steps:
            checkpoint.save(model, optimizer, log)
    save_weights(model, output / "model.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--output", type=Path, default=FOLDER, help="the model's folder")
    parser.add_argument("--work", type=Path, default=Path(".atelier/train-vl"), help="checkpoints; resumes from here")
    train(parser.parse_args())


if __name__ == "__main__":
    ensure_openblas()
    main()
