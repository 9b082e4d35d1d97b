"""What atelier-tiny learns: the generators of cases, and how often each is drawn in training."""

import random

from ..cases import Case, Draw
from . import chat, combined, completion, copying, memory, sums, tools

# Skill -> generator, share of the training cases (they need not add up to anything).
SKILLS: dict[str, tuple[Draw, float]] = {
    "greeting": (chat.greeting, 4),
    "faq": (chat.faq, 16),
    "unknown": (chat.unknown, 6),
    "story": (chat.story, 2),
    "repeat": (copying.repeat, 10),
    "spell": (copying.spell, 5),
    "count": (copying.count, 4),
    "add": (sums.add, 6),
    "subtract": (sums.subtract, 4),
    "add_three": (sums.add_three, 3),
    "too_large": (sums.too_large, 2),
    "fact": (memory.fact, 9),
    "two_facts": (memory.two_facts, 2),
    "missing_fact": (memory.missing_fact, 2),
    "forgotten": (memory.forgotten, 1),
    "noted": (memory.noted, 2),
    "earlier_turn": (memory.earlier, 4),
    "json": (memory.json_record, 8),
    "tool_call": (tools.tool_call, 18),
    "parallel_calls": (tools.parallel_calls, 2),
    "tool_result": (tools.tool_result, 9),
    "parallel_results": (tools.parallel_results, 1),
    "no_tool": (tools.no_tool, 5),
    "tools_unused": (tools.tools_unused, 3),
    "thinking": (combined.thinking, 11),
    "mixed": (combined.mixed, 7),
    "long_prompt": (combined.long_prompt, 2),
    "completion": (completion.completion, 2),
}
# Drawn for scoring alone: every case of theirs is unseen, whatever its hash.
NEVER_TRAINED: dict[str, Draw] = {"faq_new_wording": chat.faq_new_wording}


def training_case(rng: random.Random) -> Case:
    """A case that is not held out, drawn by the shares above."""
    draws = [draw for draw, _ in SKILLS.values()]
    shares = [share for _, share in SKILLS.values()]
    while True:
        case = rng.choices(draws, shares)[0](rng)
        if not case.held_out:
            return combined.dressed(rng, case)


def held_out_cases(skill: str, count: int, seed: int) -> list[Case]:
    """Up to `count` distinct held-out cases of a skill; fewer only where its combinations run out."""
    rng = random.Random(f"{skill}/{seed}")
    draw = NEVER_TRAINED.get(skill) or SKILLS[skill][0]
    cases: dict[str, Case] = {}
    for _ in range(count * 400):
        case = draw(rng)
        if case.held_out or skill in NEVER_TRAINED:
            case = combined.dressed(rng, case)
            cases.setdefault(repr((case.messages, case.tools, case.thinking, case.plain)), case)
        if len(cases) == count:
            break
    return list(cases.values())
