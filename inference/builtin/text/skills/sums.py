"""Sums of one-digit numbers, and an honest refusal of larger ones."""

import random

from ..cases import Case, pick, user, vary, wordings

ADD = wordings(
    "What is {} + {}?|{} + {}|{}+{}|{} + {} =|What is {} plus {}?|{} plus {}|Add {} and {}.|How much is {} + {}?"
    "|Calculate {} + {}.|What's {}+{}?|What is the sum of {} and {}?|Can you add {} and {}?|Compute {} + {}."
    "|{} + {} = ?|How much is {} and {}?|What do you get if you add {} and {}?|Sum {} and {}.|What's {} plus {}?"
)
SUBTRACT = wordings(
    "What is {} - {}?|{} - {}|{}-{}|{} - {} =|What is {} minus {}?|{} minus {}|How much is {} - {}?"
    "|Calculate {} - {}.|What's {}-{}?|Compute {} - {}.|{} - {} = ?|What's {} minus {}?"
    "|What is the difference of {} and {}?"
)
TOO_LARGE = "I can only calculate with one-digit numbers."


def add(rng: random.Random) -> Case:
    a, b, request = rng.randrange(10), rng.randrange(10), pick(rng, ADD)
    answer = f"{a} + {b} = {a + b}."
    return Case(
        "add", request.format(a, b), (user(vary(rng, request.format(a, b))),), answer, f"{a} plus {b} is {a + b}."
    )


def subtract(rng: random.Random) -> Case:
    a, b, request = rng.randrange(10), rng.randrange(10), pick(rng, SUBTRACT)
    a, b = max(a, b), min(a, b)
    answer = f"{a} - {b} = {a - b}."
    return Case(
        "subtract", request.format(a, b), (user(vary(rng, request.format(a, b))),), answer, f"{a} minus {b} is {a - b}."
    )


def add_three(rng: random.Random) -> Case:
    """Three numbers: one step more than the model can do at once, but not than it can do while thinking."""
    a, b, c = (rng.randrange(10) for _ in range(3))
    c = min(c, 9)
    request = pick(
        rng, ["What is {} + {} + {}?", "{} + {} + {}", "Calculate {} + {} + {}.", "What is {} plus {} plus {}?"]
    )
    text = request.format(a, b, c)
    thought = f"{a} + {b} = {a + b}. {a + b} + {c} = {a + b + c}."
    return Case("add_three", text, (user(vary(rng, text)),), f"{a} + {b} + {c} = {a + b + c}.", thought, thinking=True)


def too_large(rng: random.Random) -> Case:
    a, b = rng.randrange(10, 1000), rng.choice([rng.randrange(10), rng.randrange(10, 1000)])
    if rng.random() < 0.5:
        a, b = b, a
    text = pick(rng, [*ADD, *SUBTRACT]).format(a, b)
    if rng.random() < 0.2:
        text = pick(rng, ["What is {} * {}?", "What is {} times {}?", "What is {} / {}?", "Multiply {} by {}."]).format(
            a, b
        )
    return Case("too_large", text, (user(vary(rng, text)),), TOO_LARGE, "These numbers are too large for me.")
