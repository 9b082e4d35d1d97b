"""Working on the words of the prompt itself: repeating, spelling, counting."""

import random

from ..cases import Case, pick, user, vary, wordings
from ..words import DAYS, FOODS, NAMES, code, foreign, made_up, name, word

REPEAT = wordings(
    "Repeat: {}|Repeat after me: {}|Say: {}|Say {}|Repeat these words: {}|Repeat the following: {}|Echo: {}"
    "|Please repeat: {}|Copy this: {}|Say exactly: {}|Repeat this text: {}|Answer with exactly this: {}"
    "|Reply with: {}|Write: {}|Print {}|Repeat the words: {}|Please say {}|Can you repeat this: {}"
    "|Say the following: {}|Output exactly: {}"
)
SPELL = wordings(
    "Spell {}.|Spell the word {}.|How do you spell {}?|Please spell {}.|Can you spell {}?|Spell {} for me."
    "|Spell: {}|How is {} spelled?|Spell out {}."
)
COUNT = wordings(
    "Count from {} to {}.|Count from {} to {}|Count from {} up to {}.|Please count from {} to {}."
    "|Can you count from {} to {}?|Count {} to {}."
    "|Count from {} to {}, please.|Now count from {} to {}.|List the numbers from {} to {}."
    "|Write the numbers from {} to {}."
    "|Say the numbers from {} to {}."
)


def repeat(rng: random.Random) -> Case:
    kind = rng.random()
    count = rng.choice([1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 10, 12])
    if kind < 0.55:
        parts = [rng.choice([word, word, word, name, code])(rng) for _ in range(count)]
        text = pick(rng, [" ", " ", " ", ", "]).join(parts)
    elif kind < 0.65:
        text = " ".join(foreign(rng) if rng.random() < 0.7 else word(rng) for _ in range(min(count, 5)))
    elif kind < 0.8:
        text = " ".join("".join(rng.choice("0123456789") for _ in range(rng.randrange(1, 5))) for _ in range(count))
    else:
        text = pick(rng, SENTENCES).format(
            a=word(rng), b=word(rng), c=word(rng), n=name(rng), d=rng.choice(DAYS), f=pick(rng, FOODS)
        )
    if rng.random() < 0.25:
        text = text[:1].upper() + text[1:]
    request = pick(rng, REPEAT)
    quoted = f'"{text}"' if rng.random() < 0.15 else text
    return Case("repeat", f"{request}|{text}", (user(request.format(quoted)),), text, "I have to repeat the words.")


SENTENCES = wordings(
    "the {a} is in the {b}|{n} has a {a} and a {b}|on {d} {n} eats {f}|my {a} is {b}"
    "|the {a} and the {b} love the {c}|{n} went to the {a} on {d}|I like {f}|this is a {a}|{a} {b}!"
    "|we meet on {d} at the {a}|no {a}, no {b}|hello {n}|The quick brown fox jumps over the lazy dog|this is a test"
    "|testing {a}|it works"
)


def spell(rng: random.Random) -> Case:
    draw = rng.random()
    text = made_up(rng) if draw < 0.5 else pick(rng, NAMES) if draw < 0.6 else word(rng, 0.0)
    request = pick(rng, SPELL)
    quoted = f'"{text}"' if rng.random() < 0.1 else text
    answer = "-".join(text.lower())
    return Case("spell", f"{request}|{text}", (user(request.format(quoted)),), answer, "I have to give the letters.")


def count(rng: random.Random) -> Case:
    """Mostly short ranges (they are cheap), up to 100 numbers: the long answers that streaming tests need."""
    start = 1 if rng.random() < 0.7 else rng.randrange(0, 60)
    end = min(
        100,
        start + rng.choice([rng.randrange(1, 12), rng.randrange(1, 30), rng.randrange(1, 60), rng.randrange(1, 100)]),
    )
    request = pick(rng, COUNT)
    if start == 1 and rng.random() < 0.15:
        request = pick(rng, ["Count to {}.", "Count up to {}.", "Can you count to {}?", "Please count to {}"])
        text = request.format(end)
    else:
        text = request.format(start, end)
    answer = ", ".join(str(number) for number in range(start, end + 1)) + "."
    return Case("count", text.rstrip("."), (user(vary(rng, text)),), answer, "I have to count.")
