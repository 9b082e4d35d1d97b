"""From cases to batches: token ids, and how much each token's prediction counts."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from .cases import Case
from .skills import training_case
from .tokenizer import END_OF_TEXT, TURN_END, TURN_START

TOKENS_A_STEP = 4096
PARTS = 4  # of a step, each of cases of like length, so that little is padding and every step sees every length
LONGEST = 2048  # tokens of a case; longer ones are left out
# First short cases only: twice as many fit into a step, and copying, which the long ones build on, is learnt on them.
SHORT_POOLS, SHORT = 84, 96
POOL = 640  # cases that are sorted by length together
PROMPT_WEIGHT = 0.1  # reading the prompt is learnt a little too: copying needs it
FULL_WEIGHT_TOKENS = 32  # a longer answer (counting) weighs as the root of its length


@dataclass(frozen=True)
class Example:
    ids: list[int]
    weights: list[float]  # of predicting ids[i], same length as ids


@dataclass(frozen=True)
class Part:
    ids: NDArray[np.int32]  # [rows, length]
    weights: NDArray[np.float32]  # [rows, length], 0 where padded; over all parts of a step they add up to 1


def prompt_text(tokenizer: PreTrainedTokenizerFast, case: Case) -> str:
    if case.plain is not None:
        return case.plain
    text: str = tokenizer.apply_chat_template(
        list(case.messages),
        tools=list(case.tools) or None,
        add_generation_prompt=True,
        tokenize=False,
        enable_thinking=case.thinking,
    )
    return text


def prompt_ids(tokenizer: PreTrainedTokenizerFast, case: Case) -> list[int]:
    ids: list[int] = tokenizer.encode(prompt_text(tokenizer, case), add_special_tokens=False)
    return ids


class Encoder:
    """Cases to examples. Earlier answers in a prompt weigh nothing: one of them may be held out."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.turn_start, self.turn_end, self.text_end = tokenizer.convert_tokens_to_ids(
            [TURN_START, TURN_END, END_OF_TEXT]
        )
        self.assistant = tokenizer.encode("assistant\n", add_special_tokens=False)

    def __call__(self, case: Case) -> Example:
        prompt = prompt_ids(self.tokenizer, case)
        end = self.turn_end if case.plain is None else self.text_end
        target = [*self.tokenizer.encode(case.target, add_special_tokens=False), end]
        weight = min(1.0, FULL_WEIGHT_TOKENS / len(target)) ** 0.5
        return Example(prompt + target, self._prompt_weights(prompt) + [weight] * len(target))

    def _prompt_weights(self, ids: list[int]) -> list[float]:
        weights, speaking = [], False
        for place, token in enumerate(ids):
            if token == self.turn_start:
                speaking = ids[place + 1 : place + 1 + len(self.assistant)] == self.assistant
            weights.append(0.0 if speaking else PROMPT_WEIGHT)
        return weights


def steps(tokenizer: PreTrainedTokenizerFast, seed: int, pool: int) -> Iterator[list[Part]]:
    """The optimizer steps of the pool with this number, each of `PARTS` parts from short to long."""
    rng = random.Random(f"{seed}/{pool}")
    encode = Encoder(tokenizer)
    longest = SHORT if pool < SHORT_POOLS else LONGEST
    examples: list[Example] = []
    while len(examples) < POOL:
        example = encode(training_case(rng))
        if len(example.ids) <= longest:
            examples.append(example)
    groups = _group(sorted(examples, key=lambda each: len(each.ids)))
    for _ in range(len(groups) % PARTS):
        groups.pop(rng.randrange(len(groups)))
    count = len(groups) // PARTS
    bands = [groups[band * count : (band + 1) * count] for band in range(PARTS)]
    for band in bands:
        rng.shuffle(band)
    return (_parts(list(step)) for step in zip(*bands, strict=True))


def _group(examples: list[Example]) -> list[list[Example]]:
    """Neighbours in length together, up to a part's tokens with the padding counted."""
    groups: list[list[Example]] = [[]]
    for example in examples:
        if groups[-1] and (len(groups[-1]) + 1) * len(example.ids) > TOKENS_A_STEP // PARTS:
            groups.append([])
        groups[-1].append(example)
    return groups


def _parts(groups: list[list[Example]]) -> list[Part]:
    total = sum(sum(example.weights[1:]) for group in groups for example in group)
    return [_pad(group, total) for group in groups]


def _pad(examples: list[Example], total: float) -> Part:
    length = max(len(example.ids) for example in examples)
    ids = np.zeros((len(examples), length), np.int32)
    weights = np.zeros((len(examples), length), np.float32)
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = example.ids
        weights[row, : len(example.ids)] = example.weights
    return Part(ids, weights / np.float32(total))
