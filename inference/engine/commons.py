"""Beginnings of prompts that are everybody's: whoever's request begins so shares what is cached of that, to the token,
and nothing of what follows.

An administrator has declared these texts to be no secret. All else is told apart by its salt (`prefix.keys`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from inference.engine.model import LoadedModel
from inference.engine.protocol import SharedText
from inference.engine.text.template import MARK, PromptError, encode_text

SLACK = 2
"""Tokens at a text's end that may be others in a prompt, for what follows there may merge with them."""


@dataclass(frozen=True, slots=True)
class Commons:
    prefixes: tuple[tuple[int, ...], ...]
    kept: tuple[tuple[int, ...], ...]
    """Those that are to stay in the cache."""

    @classmethod
    def of(cls, texts: Iterable[SharedText], model: LoadedModel) -> "Commons":
        """Each as a conversation's system message, and as the beginning of a plain prompt. One that the model's
        template or tokenizer refuses is nobody's beginning."""
        found = [(prefix, text.pinned) for text in texts for prefix in _prefixes(text.text, model)]
        return cls(tuple(prefix for prefix, _ in found), tuple(prefix for prefix, pinned in found if pinned))

    def within(self, prompt: Sequence[int]) -> int:
        """How many of the prompt's first tokens are everybody's."""
        return max((_common(prefix, prompt) for prefix in self.prefixes), default=0)


NO_COMMONS = Commons((), ())


def _prefixes(text: str, model: LoadedModel) -> list[tuple[int, ...]]:
    found = []
    try:
        found.append(tuple(encode_text(model.tokenizer, text)))
        messages = [{"role": "system", "content": text}, {"role": "user", "content": MARK}]
        rendered = model.render(messages, {"enable_thinking": False})
        at = rendered.find(text)
        if at >= 0:
            found.append(tuple(model.encode(rendered[: at + len(text)])))
    except PromptError:
        pass
    return [prefix for prefix in found if len(prefix) > SLACK]


def _common(prefix: tuple[int, ...], prompt: Sequence[int]) -> int:
    """Length of the common beginning of a prompt that begins with that; 0 for one that does not."""
    sure = len(prefix) - SLACK
    if tuple(prompt[:sure]) != prefix[:sure]:
        return 0
    length = sure
    while length < min(len(prefix), len(prompt)) and prefix[length] == prompt[length]:
        length += 1
    return length
