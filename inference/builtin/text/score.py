"""Scores a model of the built-in text kind on cases that were never trained on.

    python -m inference.builtin.text.score [MODEL FOLDER] [--cases N] [--skill NAME ...] [--json FILE] [--wrong N]

Greedy decoding through mlx-lm's batch generator. A case is right when the turn is exactly the expected text and ends by
itself (a story: when it ends and mentions its hero), so a wrong full stop counts as wrong.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_lm import batch_generate, load

from inference.builtin.openblas import restart_with_openblas

from .batches import prompt_ids
from .cases import Case
from .skills import NEVER_TRAINED, SKILLS, held_out_cases
from .train import ARTEFACT

CASES = 200
SEED = 20_000
ROOM = 24  # tokens allowed beyond the expected answer
STORY_TOKENS = 200
AT_ONCE = 40  # cases generated together


@dataclass(frozen=True)
class Outcome:
    case: Case
    text: str
    ended: bool

    @property
    def right(self) -> bool:
        if self.case.mention is not None:
            return self.ended and self.case.mention in self.text and "<" not in self.text
        return self.ended and self.text == self.case.target


def answer(model: Any, tokenizer: Any, cases: list[Case]) -> list[Outcome]:
    """Outcomes in the order of the cases; those of like length are generated together."""
    prompts = [prompt_ids(tokenizer, case) for case in cases]
    limits = [STORY_TOKENS if case.mention is not None else len(tokenizer.encode(case.target)) + ROOM for case in cases]
    order = sorted(range(len(cases)), key=lambda place: (limits[place], len(prompts[place])))
    outcomes: dict[int, Outcome] = {}
    for start in range(0, len(order), AT_ONCE):
        places = order[start : start + AT_ONCE]
        response = batch_generate(
            model,
            tokenizer,
            [prompts[place] for place in places],
            max_tokens=[limits[place] for place in places],
            return_token_ids=True,
        )
        for place, text, ids in zip(places, response.texts, response.token_ids, strict=True):
            outcomes[place] = Outcome(cases[place], text, len(ids) < limits[place])
    return [outcomes[place] for place in range(len(cases))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, default=ARTEFACT, help="folder of the model")
    parser.add_argument("--cases", type=int, default=CASES, help="held-out cases a skill")
    parser.add_argument("--skill", action="append", choices=[*SKILLS, *NEVER_TRAINED], help="only this; repeatable")
    parser.add_argument("--json", type=Path, help="write the scores to this file")
    parser.add_argument("--wrong", type=int, default=0, help="print up to this many wrong answers a skill")
    options = parser.parse_args()
    restart_with_openblas(threads=2)

    model, tokenizer = load(str(options.model))[:2]
    scores: dict[str, dict[str, float]] = {}
    began = time.perf_counter()
    print(f"{'skill':<18}{'right':>7}{'cases':>7}{'share':>9}", flush=True)
    for skill in options.skill or [*SKILLS, *NEVER_TRAINED]:
        outcomes = answer(model, tokenizer, held_out_cases(skill, options.cases, SEED))
        right = sum(outcome.right for outcome in outcomes)
        scores[skill] = {"right": right, "cases": len(outcomes), "share": round(right / len(outcomes), 4)}
        print(f"{skill:<18}{right:>7}{len(outcomes):>7}{right / len(outcomes):>9.1%}", flush=True)
        for outcome in [outcome for outcome in outcomes if not outcome.right][: options.wrong]:
            question = outcome.case.plain or outcome.case.messages[-1]["content"]
            print(f"    {question!r}\n      wanted {outcome.case.target!r}\n      got    {outcome.text!r}")
    print(f"{time.perf_counter() - began:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
