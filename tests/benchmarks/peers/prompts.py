"""Seeded prompts whose length in tokens, chat template included, is exact on every server."""

import random
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

Messages = list[dict[str, str]]
PROBE = 2000
"""Words of the vocabulary that are looked at for those that are one token; enough for any prompt."""


class Prompts:
    """Draws words that are one token each and fits their number to the length that is wanted."""

    def __init__(self, folder: Path):
        self._tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
        self._words = self._single_words()

    def user(self, tokens: int, seed: str) -> Messages:
        """One question."""
        return self._fitted(tokens, random.Random(seed), [])

    def behind(self, system: str, tokens: int, seed: str) -> Messages:
        """A question behind a system prompt that others share; `tokens` is the length of both."""
        return self._fitted(tokens, random.Random(seed), [{"role": "system", "content": system}])

    def text(self, tokens: int, seed: str) -> str:
        """About so many tokens of text; for system prompts."""
        return " ".join(random.Random(seed).choices(self._words, k=tokens))

    def length(self, messages: Messages) -> int:
        ids = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        return len(ids)

    def ids(self, tokens: int, seed: str) -> list[int]:
        """The same kind of text as token ids, without a chat template."""
        found: list[int] = self._tokenizer.encode(self.text(tokens + 8, seed), add_special_tokens=False)
        return found[:tokens]

    def _fitted(self, tokens: int, draw: random.Random, before: Messages) -> Messages:
        words = draw.choices(self._words, k=tokens)
        count = tokens - self.length([*before, {"role": "user", "content": ""}])
        for _ in range(20):
            messages = [*before, {"role": "user", "content": " ".join(words[:count])}]
            over = self.length(messages) - tokens
            if over == 0:
                return messages
            count -= over
            if not 0 < count <= len(words):
                break
        raise ValueError(f"no question makes a prompt of {tokens} tokens behind {len(before)} messages")

    def _single_words(self) -> list[str]:
        """Lower-case words that are one token after a space."""
        vocabulary = sorted({token[1:] for token in self._tokenizer.get_vocab() if token[:1] in ("Ġ", "▁")})
        words = [word for word in vocabulary if word.isascii() and word.isalpha() and word.islower() and len(word) > 1]
        chosen = random.Random(0).sample(words, min(PROBE, len(words)))
        # Behind another word, as they will stand; alone, some tokenizers put a space in front and some do not.
        alone = len(self._tokenizer.encode("a", add_special_tokens=False))
        return [
            word for word in chosen if len(self._tokenizer.encode(f"a {word}", add_special_tokens=False)) == alone + 1
        ]
