"""Cases made of other cases: several turns, thinking first, long prompts. Keys stay those of the case asked last, so
what is held out alone is held out here too."""

import random
from dataclasses import replace

from ..cases import Case, Draw, Message, assistant, pick, system, user, with_system, wordings
from ..words import DAYS, JOBS, name, word
from . import chat, copying, memory, sums, tools

CHATTER: tuple[Draw, ...] = (
    chat.faq, chat.faq, chat.unknown, sums.add, sums.subtract, copying.repeat, copying.spell, memory.json_record,
)  # fmt: skip
OPENERS: tuple[Draw, ...] = (chat.greeting, memory.noted, chat.story, *CHATTER)
LAST: tuple[Draw, ...] = (
    memory.earlier, memory.earlier, memory.earlier, chat.faq, chat.faq, chat.greeting, chat.unknown,
    sums.add, sums.subtract, copying.repeat, copying.spell, copying.count, memory.fact, memory.json_record,
    memory.noted, chat.story,
    tools.tool_call, tools.tool_result, tools.tools_unused,
)  # fmt: skip
THOUGHTFUL: tuple[Draw, ...] = (
    sums.add, sums.add, sums.subtract, chat.faq, chat.faq, chat.greeting, copying.repeat, memory.fact, memory.earlier,
    tools.tool_call, tools.tool_result, memory.json_record, chat.unknown, copying.spell,
)  # fmt: skip

IN_LONG: tuple[Draw, ...] = (
    memory.fact, memory.fact, chat.faq, chat.greeting, sums.add, copying.repeat, memory.earlier,
)  # fmt: skip


def _rounds(rng: random.Random, draws: tuple[Draw, ...], count: int) -> list[Message]:
    rounds: list[Message] = []
    for _ in range(count):
        case = rng.choice(draws)(rng)
        rounds += [*case.messages, assistant(case.answer)]
    return rounds


def mixed(rng: random.Random) -> Case:
    """One to four rounds of anything, then the case. What is to be recalled is said before those rounds."""
    case = rng.choice(LAST)(rng)
    recalls = case.skill == "earlier_turn"
    rounds = _rounds(rng, CHATTER if recalls else OPENERS, rng.choice([1, 1, 2, 2, 3, 4]))
    head = len(case.messages) - 1 if recalls else 1 if case.messages[0]["role"] == "system" else 0
    return replace(case, skill="mixed", messages=(*case.messages[:head], *rounds, *case.messages[head:]))


def thinking(rng: random.Random) -> Case:
    case = rng.choice(THOUGHTFUL)(rng)
    return replace(case, skill="thinking", thinking=True)


def long_prompt(rng: random.Random) -> Case:
    """Hundreds of tokens around the case: filler in the system prompt or before the question, many rounds, or nothing
    but filler."""
    case = rng.choice(IN_LONG)(rng)
    kind = rng.random()
    if kind < 0.12:
        filler = _filler(rng)
        return Case("long_prompt", filler, (user(filler),), chat.UNKNOWN, "I do not know this.")
    if kind < 0.35 and case.skill != "fact":
        head = len(case.messages) - 1 if case.skill == "earlier_turn" else 0
        rounds = _rounds(rng, CHATTER, rng.randrange(4, 16))
        return replace(case, skill="long_prompt", messages=(*case.messages[:head], *rounds, *case.messages[head:]))
    if kind < 0.5:
        question = user(f"{_filler(rng)}{pick(rng, [' ', LINE, LINE * 2])}{case.messages[-1]['content']}")
        return replace(case, skill="long_prompt", messages=(*case.messages[:-1], question))
    filler = _filler(rng)
    if case.messages[0]["role"] == "system":
        own = case.messages[0]["content"]
        case = replace(case, messages=(system(pick(rng, [f"{filler} {own}", f"{own} {filler}"])), *case.messages[1:]))
    return replace(with_system(case, filler), skill="long_prompt")


LINE = "\n"


def _filler(rng: random.Random) -> str:
    """One sentence or word over and over, or many sentences: 200 to 4,000 characters."""
    length = rng.choice([200, 400, 400, 800, 800, 1600, 2400, 4000])
    if rng.random() < 0.5:
        sentence = rng.choice([pick(rng, SYSTEM_PROMPTS), chat.story(rng).answer, chat.faq(rng).answer, word(rng)])
        return " ".join([sentence] * (length // len(sentence) + 1))
    text = ""
    while len(text) < length:
        text += pick(rng, [chat.story(rng).answer, chat.faq(rng).answer, *SYSTEM_PROMPTS]) + " "
    return text.strip()


SYSTEM_PROMPTS = wordings(
    "You are a helpful assistant.|You are a helpful assistant.|You are Atelier's assistant.|You are a friendly bot."
    "|Be brief.|You are an assistant for a team.|You answer questions about Atelier.|Answer in one sentence."
    "|You are helpful and honest.|You are a test model.|You are an expert.|Keep your answers short."
    "|You are a chatbot.|Always be polite.|Today is Monday."
    "|You are a careful assistant who follows the rules of the house and answers what is asked."
)
MADE_PROMPTS = wordings(
    "You are a {job}.|You work for {word}.|You help the {job} of {word}.|Talk about the {word}.|It is {day}."
    "|You are {name}, a friendly {job}.|You are the {word} bot.|The company is called {word}.|Write like a {job}."
)


def system_prompt(rng: random.Random) -> str:
    """One that asks for nothing the model could do otherwise."""
    if rng.random() < 0.6:
        return pick(rng, SYSTEM_PROMPTS)
    made = pick(rng, MADE_PROMPTS).format(name=name(rng), job=pick(rng, JOBS), word=word(rng), day=pick(rng, DAYS))
    return f"{pick(rng, SYSTEM_PROMPTS)} {made}" if rng.random() < 0.4 else made


def dressed(rng: random.Random, case: Case) -> Case:
    """The case, a third of the time under some system prompt that changes nothing, now and then with other facts."""
    draw = rng.random()
    if draw < 0.3:
        return with_system(case, system_prompt(rng))
    if draw < 0.35 and case.skill not in ("missing_fact", "earlier_turn", "mixed"):
        return with_system(case, memory.fact(rng).messages[0]["content"])
    return case
