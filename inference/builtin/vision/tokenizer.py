"""The tokenizer: byte-level BPE over the generated dialogues, every digit a token of its own."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from inference.builtin.vision.cases import SKILLS, make_case

VOCABULARY = 640
END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VISION_START, VISION_END, IMAGE_PAD, VIDEO_PAD = "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"
SPECIALS = (END_OF_TEXT, TURN_START, TURN_END, VISION_START, VISION_END, IMAGE_PAD, VIDEO_PAD)


def train_tokenizer(seed: int, dialogues_per_skill: int = 400) -> Tokenizer:
    """A tokenizer of VOCABULARY tokens whose first ids are SPECIALS, in that order. Any text can be encoded."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\d"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIALS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(seed, dialogues_per_skill), trainer)
    return tokenizer


def _texts(seed: int, dialogues: int) -> Iterator[str]:
    rng = random.Random(f"tokenizer:{seed}")
    for skill in SKILLS:
        for _ in range(dialogues):
            case = make_case(rng, skill, held_out=False, size=(64, 64))
            yield f"system\n{case.system or ''}\nuser\nassistant\n<{case.fps / 2:.1f} seconds>"
            for question, answer in case.turns:
                yield question
                yield answer
