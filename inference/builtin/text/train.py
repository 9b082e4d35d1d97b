"""Trains atelier-tiny from nothing: tokenizer, model, artefact.

    python -m inference.builtin.text.train [--steps N] [--resume]

Seeded: the same machine, MLX and BLAS give the same model. On Linux it starts itself again with OpenBLAS (see
openblas.py). Checkpoint, log and the model so far go to --work, the artefact to --out when the run ends.
"""

import argparse
import functools
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map, tree_unflatten
from mlx_lm.models.qwen3 import Model
from transformers import PreTrainedTokenizerFast

from inference.builtin.openblas import restart_with_openblas

from .batches import Part, steps
from .model import CONTEXT, new_model, parameter_count, save_model
from .skills import training_case
from .tokenizer import plain_text, train_tokenizer

ARTEFACT = Path(__file__).parents[1] / "models" / "atelier-tiny"
SEED = 7
STEPS = 4000
WARM_UP, COOL_DOWN = 60, 1000  # steps at the start and the end in which the rate rises and falls
MATRIX_RATE, OTHER_RATE = 2e-2, 3e-3  # of Muon for the layers' matrices, of AdamW for embedding and norms
LARGEST_GRADIENT = 1.0  # norm
TOKENIZER_CASES = 30_000
LOG_EVERY = 25


def build_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    rng = random.Random(f"tokenizer/{seed}")
    cases = (training_case(rng) for _ in range(TOKENIZER_CASES))
    return train_tokenizer((plain_text(case.messages, case.tools, case.target) for case in cases), context=CONTEXT)


def schedule(rate: float, steps: int) -> Callable[[mx.array], mx.array]:
    """Warm up, stay, cool down to nothing: where the run ends changes nothing before its cool-down."""
    fall = max(WARM_UP, steps - COOL_DOWN)
    parts = [
        optim.linear_schedule(0.0, rate, WARM_UP),
        optim.linear_schedule(rate, rate, fall - WARM_UP),
        optim.linear_schedule(rate, 0.0, steps - fall),
    ]
    joined: Callable[[mx.array], mx.array] = optim.join_schedules(parts, [WARM_UP, fall])
    return joined


def build_optimizer(steps: int) -> optim.MultiOptimizer:
    """Muon, which takes fewer steps here than AdamW alone, and AdamW for embedding and norms."""
    muon = optim.Muon(schedule(MATRIX_RATE, steps), weight_decay=0.0)
    adam = optim.AdamW(schedule(OTHER_RATE, steps), betas=[0.9, 0.98], weight_decay=0.01)
    return optim.MultiOptimizer([muon, adam], [lambda name, array: "layers" in name and array.ndim == 2])


def loss_of(model: Model, ids: mx.array, weights: mx.array) -> mx.array:
    """Weighted sum of cross-entropies; ids and weights are [rows, length]."""
    losses = nn.losses.cross_entropy(model(ids[:, :-1]), ids[:, 1:])
    loss: mx.array = (losses * weights[:, 1:]).sum()
    return loss


class Trainer:
    """One run: model, optimizer, how far it came. `pool` numbers the pools of cases that are done."""

    def __init__(self, seed: int, steps: int, work: Path) -> None:
        self.seed, self.steps, self.work = seed, steps, work
        self.tokenizer = build_tokenizer(seed)
        self.model = new_model(seed)
        self.optimizer = build_optimizer(steps)
        self.streams = [mx.new_stream(mx.default_device()) for _ in range(2)]
        self.loss_and_gradient = nn.value_and_grad(self.model, loss_of)
        self.step, self.pool, self.seconds = 0, 0, 0.0

    def run(self) -> None:
        print(
            f"{parameter_count(self.model):,} parameters, {len(self.tokenizer)} tokens, {self.steps} steps", flush=True
        )
        recent: list[float] = []
        while self.step < self.steps:
            for parts in steps(self.tokenizer, self.seed, self.pool):
                if self.step == self.steps:
                    break
                began = time.perf_counter()
                recent.append(self._update(parts))
                self.seconds += time.perf_counter() - began
                if self.step % LOG_EVERY == 0:
                    self._log(sum(recent) / len(recent))
                    recent.clear()
            self.pool += 1
            self.save()

    def _update(self, parts: list[Part]) -> float:
        """One optimizer step over the sum of the parts' gradients; returns the loss."""
        halves = []
        for place, part in enumerate(parts):
            # The shortest and the longest part on one stream, those between on the other: each stream is a thread.
            with mx.stream(self.streams[place in (0, len(parts) - 1)]):
                halves.append(self.loss_and_gradient(self.model, mx.array(part.ids), mx.array(part.weights)))
        mx.eval(halves)
        total, gradients = functools.reduce(lambda one, other: tree_map(mx.add, one, other), halves)
        gradients, _ = optim.clip_grad_norm(gradients, LARGEST_GRADIENT)
        self.optimizer.update(self.model, gradients)
        mx.eval(self.model.parameters(), self.optimizer.state)
        self.step += 1
        return cast(float, total.item())

    def _log(self, loss: float) -> None:
        line = {"step": self.step, "loss": round(loss, 4), "seconds": round(self.seconds)}
        print(line, flush=True)
        with (self.work / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def save(self) -> None:
        """The checkpoint (weights, optimizer, progress), and the model so far as a folder that loads."""
        arrays = {f"model.{name}": array for name, array in tree_flatten(self.model.parameters())}
        arrays |= {f"optimizer.{name}": array for name, array in tree_flatten(self.optimizer.state)}
        progress = {"step": self.step, "pool": self.pool, "seconds": self.seconds}
        fresh = self.work / "fresh.safetensors"
        mx.save_safetensors(str(fresh), arrays, metadata={name: str(value) for name, value in progress.items()})
        fresh.replace(self.work / "checkpoint.safetensors")
        save_model(self.work / "model", self.model, self.tokenizer)

    def resume(self) -> None:
        """Takes up the checkpoint in `work`. Raises where there is none, or where the model has another shape."""
        loaded = mx.load(str(self.work / "checkpoint.safetensors"), return_metadata=True)
        arrays, progress = cast(tuple[dict[str, mx.array], dict[str, str]], loaded)
        parts: dict[str, list[tuple[str, Any]]] = {"model": [], "optimizer": []}
        for name, array in arrays.items():
            part, _, rest = name.partition(".")
            parts[part].append((rest, array))
        self.model.load_weights(parts["model"], strict=True)
        self.optimizer.state = tree_unflatten(parts["optimizer"])
        self.step, self.pool, self.seconds = int(progress["step"]), int(progress["pool"]), float(progress["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS, help="optimizer steps of the whole run")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--work", type=Path, default=Path("build/atelier-tiny"), help="folder for checkpoint and log")
    parser.add_argument("--out", type=Path, default=ARTEFACT, help="folder for the artefact")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --work")
    options = parser.parse_args()
    restart_with_openblas(threads=1)  # the two streams of a step are threads enough
    options.work.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(options.seed, options.steps, options.work)
    if options.resume:
        trainer.resume()
    trainer.run()
    save_model(options.out, trainer.model, trainer.tokenizer)
    print(f"wrote {options.out}", flush=True)


if __name__ == "__main__":
    main()
