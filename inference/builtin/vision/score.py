"""Scores a model folder on held-out cases: `python -m inference.builtin.vision.score`.

The judge is mlx-vlm's own `generate`, greedy. An answer is right when it is the expected text to the letter and the
model ended its turn.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mlx_vlm import generate, load

from inference.builtin.openblas import restart_with_openblas
from inference.builtin.vision.architecture import FOLDER
from inference.builtin.vision.cases import SKILLS, Case, make_case

SIZES = ((64, 64), (96, 96), (128, 128), (160, 160), (320, 320), (144, 96), (80, 128))  # width, height in pixels
LONGEST = 64  # tokens


@dataclass
class Score:
    """Counts of one skill. `combinations` counts the distinct held-out keys, `sizes` maps 'width x height' to right
    and asked."""

    skill: str
    cases: int = 0
    right: int = 0
    ended: int = 0
    combinations: int = 0
    sizes: dict[str, list[int]] = field(default_factory=dict)

    @property
    def share(self) -> float:
        return self.right / self.cases


def answer(model: Any, processor: Any, case: Case) -> tuple[str, bool]:
    """The model's greedy answer to the case's last question, and whether it ended its turn by itself."""
    prompt = processor.tokenizer.apply_chat_template(
        case.messages(answered=False), tokenize=False, add_generation_prompt=True
    )
    media: dict[str, Any] = {"image": list(case.pictures)} if case.pictures else {}
    if case.clip:
        media = {"video": [list(case.clip)], "fps": case.fps}
    result = generate(model, processor, prompt, max_tokens=LONGEST, temperature=0.0, **media)
    text = str(result.text).removesuffix("<|im_end|>").strip()
    return text, result.finish_reason == "stop"


def score_skill(model: Any, processor: Any, skill: str, *, cases: int, seed: int, show: int = 0) -> Score:
    """Score `cases` held-out cases of `skill`, over SIZES in turn; prints the first `show` wrong answers."""
    score, keys = Score(skill), set()
    for index in range(cases):
        size = SIZES[index % len(SIZES)]
        case = make_case(random.Random(f"score:{seed}:{skill}:{index}"), skill, held_out=True, size=size)
        keys.add(case.key)
        text, ended = answer(model, processor, case)
        question, expected = case.turns[-1]
        right = ended and text == expected
        score.cases += 1
        score.ended += ended
        score.right += right
        if skill != "chat":
            at_size = score.sizes.setdefault(f"{size[0]} x {size[1]}", [0, 0])
            at_size[0] += right
            at_size[1] += 1
        if not right and show > 0:
            show -= 1
            print(f"  {skill}: {question!r} -> {text!r}, not {expected!r} ({case.key})")
    score.combinations = len(keys)
    return score


def table(scores: Sequence[Score]) -> str:
    """A Markdown table of the scores, a row a skill."""
    names = [f"{width} x {height}" for width, height in SIZES]
    lines = ["| skill | right | cases | combinations | ended | " + " | ".join(names) + " |"]
    lines.append("|" + "---|" * (5 + len(names)))
    for score in scores:
        at_sizes = [_percent(*score.sizes[name]) if name in score.sizes else "" for name in names]
        whole = [_percent(score.right, score.cases), str(score.cases), str(score.combinations)]
        cells = [score.skill, *whole, _percent(score.ended, score.cases), *at_sizes]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=FOLDER, help="the model's folder")
    parser.add_argument("--cases", type=int, default=210, help="held-out cases a skill")
    parser.add_argument("--skills", nargs="+", choices=SKILLS, default=list(SKILLS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=0, help="print so many wrong answers a skill")
    parser.add_argument("--json", type=Path, help="write the scores here too")
    arguments = parser.parse_args()
    model, processor = load(str(arguments.model))
    started, scores = time.monotonic(), []
    for skill in arguments.skills:
        scores.append(
            score_skill(model, processor, skill, cases=arguments.cases, seed=arguments.seed, show=arguments.show)
        )
    print(table(scores))
    print(f"{sum(score.cases for score in scores)} cases in {time.monotonic() - started:.0f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(score) for score in scores], indent=2) + "\n")


if __name__ == "__main__":
    restart_with_openblas()
    main()
