"""Fill in the middle: a prompt with a hole, for models that were trained on such."""

from typing import Any

from inference.engine.text.template import PromptError, encode_text

MARKS = [
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
]
"""What stands before the text, before what follows the hole, and before the answer."""
SUFFIX_FIRST = ("[SUFFIX]", "[PREFIX]")
"""What stands before what follows the hole, and before the text, which the answer continues."""


def encode_infill(tokenizer: Any, text: str, suffix: str) -> list[int]:
    """Token ids of a prompt whose answer goes between `text` and `suffix`. Raises PromptError."""
    vocab = tokenizer.get_vocab()
    begin = encode_text(tokenizer, "")
    before, after = (encode_text(tokenizer, part, special=False) for part in (text, suffix))
    for marks in MARKS:
        if all(mark in vocab for mark in marks):
            first, second, third = (vocab[mark] for mark in marks)
            return [*begin, first, *before, second, *after, third]
    if all(mark in vocab for mark in SUFFIX_FIRST):
        first, second = (vocab[mark] for mark in SUFFIX_FIRST)
        return [*begin, first, *after, second, *before]
    raise PromptError("suffix: this model was not made to fill in the middle of a text.", "suffix")
