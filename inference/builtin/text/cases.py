"""A case: one dialogue up to the assistant's turn, and the answer that turn should give.

Cases are drawn at random from a seeded generator. Which are held out for scoring is decided by a hash of what makes
the case (`Case.key`: the combination of numbers, words and wording, folded in case), never by the draw, so training and
scoring can run apart and still never share a combination.
"""

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

Message = dict[str, Any]
Tool = dict[str, Any]

HELD_OUT_IN = 10  # one combination in ten is never trained on


@dataclass(frozen=True)
class Case:
    """`answer` is the exact text of the turn, tool calls included; `thought` is what a model asked to think writes
    first. With `mention`, any answer that ends by itself and contains that word is right (stories). Plain text to go on
    with, for completions, is `plain`; such a case has no messages."""

    skill: str
    key: str
    messages: tuple[Message, ...]
    answer: str
    thought: str
    tools: tuple[Tool, ...] = ()
    thinking: bool = False
    mention: str | None = None
    plain: str | None = None

    @property
    def held_out(self) -> bool:
        return is_held_out(self.key)

    @property
    def target(self) -> str:
        """The text to generate after the generation prompt, without the end-of-turn token."""
        return f"<think>\n{self.thought}\n</think>\n\n{self.answer}" if self.thinking else self.answer


Draw = Callable[[random.Random], Case]


def is_held_out(key: str) -> bool:
    """Case, white space and end marks do not make another combination."""
    words = "".join(sign for sign in key.lower() if sign not in ".,!?").split()
    digest = hashlib.blake2b(" ".join(words).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % HELD_OUT_IN == 0


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def system(text: str) -> Message:
    return {"role": "system", "content": text}


def with_system(case: Case, text: str) -> Case:
    """The case under a system prompt; one that has its own keeps it."""
    if not case.messages or case.messages[0]["role"] == "system":
        return case
    return replace(case, messages=(system(text), *case.messages))


def compact_json(value: Any) -> str:
    """JSON as the chat template's `tojson` writes it."""
    return json.dumps(value, ensure_ascii=False)


def vary(rng: random.Random, text: str) -> str:
    """The same words as people type them: other case, no or doubled end mark, a please. Words that carry case or
    punctuation (names, JSON) must not go through here."""
    if rng.random() < 0.12:
        text = text[:1].lower() + text[1:]
    draw = rng.random()
    if draw < 0.12:
        return text.rstrip("?.!")
    if draw < 0.16:
        return text + rng.choice(["?", "!", " ", "."])
    if draw < 0.18:
        return "Please " + text[:1].lower() + text[1:]
    if draw < 0.20:
        return text.lower()
    return text


def pick(rng: random.Random, options: Sequence[str]) -> str:
    return options[rng.randrange(len(options))]


def wordings(text: str) -> tuple[str, ...]:
    """The wordings in a text that separates them by bars, which keeps long lists readable."""
    return tuple(text.split("|"))
