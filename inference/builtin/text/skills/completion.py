"""Plain text to go on with, without a chat around it: what the completions API sends. Ends with the end of text."""

import random

from ..cases import Case, pick
from . import chat

LAST_NUMBER = 100


def completion(rng: random.Random) -> Case:
    kind = rng.random()
    if kind < 0.3:
        return _counting(rng)
    if kind < 0.65:
        return _story(rng)
    return _question(rng)


def _counting(rng: random.Random) -> Case:
    """Goes on to one hundred."""
    start = rng.choice([1, 1, 1, rng.randrange(1, 80)])
    place = start + rng.randrange(2, 20)
    prompt = ", ".join(map(str, range(start, place))) + pick(rng, [",", ", "])
    rest = ", ".join(map(str, range(place, LAST_NUMBER + 1))) + "."
    answer = rest if prompt.endswith(" ") else f" {rest}"
    return Case("completion", prompt, (), answer, "", plain=prompt)


def _story(rng: random.Random) -> Case:
    words = chat.story(rng).answer.split(" ")
    cut = rng.randrange(1, 12)
    prompt = " ".join(words[:cut])
    return Case("completion", prompt, (), " " + " ".join(words[cut:]), "", plain=prompt, mention=".")


def _question(rng: random.Random) -> Case:
    case = chat.faq(rng)
    asked, answered = pick(rng, ["Q: {}|A:", "Question: {}|Answer:"]).split("|")
    prompt = f"{asked.format(case.messages[0]['content'].strip())}\n{answered}"
    return Case("completion", case.key, (), f" {case.answer}", "", plain=prompt)
