"""A lesson: one loss trained for so many steps, with checkpoints it resumes from and a log of its loss."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_unflatten

_WARM_UP = 100  # steps
_LOG_EVERY, _SAVE_EVERY = 50, 250

Log = list[dict[str, float]]


@dataclass(frozen=True)
class Lesson:
    """`batch` makes the arguments of `loss` from a step's number alone, so that a resumed run sees what it would have
    seen. `rate` is the peak learning rate."""

    name: str
    steps: int
    rate: float
    batch: Callable[[int], Sequence[Any]]
    loss: Callable[..., mx.array]

    def rate_at(self, step: int) -> float:
        """Learning rate: up in a line, down along a cosine to a fiftieth."""
        if step < _WARM_UP:
            return self.rate * (step + 1) / _WARM_UP
        share = (step - _WARM_UP) / max(1, self.steps - _WARM_UP)
        return self.rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


def teach(module: Any, lesson: Lesson, work: Path) -> Log:
    """Train `module` in place from the last checkpoint under `work` to the lesson's end; the whole log."""
    optimizer = optim.AdamW(learning_rate=lesson.rate, weight_decay=0.02, betas=[0.9, 0.98], bias_correction=True)
    folder = work / lesson.name
    log = _load(folder, module, optimizer)
    step_of = nn.value_and_grad(module, lesson.loss)
    first, spent = (int(log[-1]["step"]), log[-1]["seconds"]) if log else (0, 0.0)
    started, losses = time.monotonic(), list[float]()
    for step in range(first, lesson.steps):
        optimizer.learning_rate = mx.array(lesson.rate_at(step))
        loss, gradients = step_of(module, *lesson.batch(step))
        gradients, _ = optim.clip_grad_norm(gradients, 1.0)
        optimizer.update(module, gradients)
        mx.eval(module.parameters(), optimizer.state, loss)
        losses.append(loss.item())
        done, last = step + 1, step + 1 == lesson.steps
        if done % _LOG_EVERY == 0 or last:
            seconds = spent + time.monotonic() - started
            log.append({"step": done, "loss": sum(losses) / len(losses), "seconds": seconds})
            print(f"{lesson.name} {done:5d}  loss {log[-1]['loss']:.4f}  {seconds:6.0f} s", flush=True)
            losses.clear()
        if done % _SAVE_EVERY == 0 or last:
            _save(folder, module, optimizer, log)
    return log


def save_weights(module: Any, path: Path) -> None:
    """Float32 weights in MLX's layout."""
    mx.save_safetensors(str(path), dict(tree_flatten(module.parameters())), metadata={"format": "mlx"})


def _load(folder: Path, module: Any, optimizer: optim.Optimizer) -> Log:
    if not (folder / "log.json").exists():
        return []
    log: Log = json.loads((folder / "log.json").read_text())
    module.load_weights(str(folder / "model.safetensors"))
    state: Any = mx.load(str(folder / "optimizer.safetensors"))
    optimizer.state = tree_unflatten(list(state.items()))
    return log


def _save(folder: Path, module: Any, optimizer: optim.Optimizer, log: Log) -> None:
    # Written aside and renamed: a run that is killed here leaves the last checkpoint whole.
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    save_weights(module, fresh / "model.safetensors")
    mx.save_safetensors(str(fresh / "optimizer.safetensors"), dict(tree_flatten(optimizer.state)))
    (fresh / "log.json").write_text(json.dumps(log, indent=1))
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
