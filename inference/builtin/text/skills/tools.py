"""Calling tools, using what they return, and leaving them alone when none fits."""

import random
from dataclasses import dataclass, replace

from ..cases import Case, Draw, Message, Tool, compact_json, pick, user
from ..words import SKIES, code, word
from . import chat, copying, memory
from .toolbox import KINDS, Kind, Offer, Value, draw_kind, offer, offers

NO_TOOL = "None of my tools can do that."
Arguments = dict[str, Value]


def call_text(name: str, arguments: Arguments) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {compact_json(arguments)}}}\n</tool_call>'


def call_message(*calls: tuple[str, Arguments]) -> Message:
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"type": "function", "function": {"name": name, "arguments": arguments}} for name, arguments in calls
        ],
    }


def _ask(rng: random.Random, kind: Kind) -> tuple[str, list[Value], str]:
    """A sentence that asks for the tool, the values in it, and the key of the combination."""
    values = [parameter.draw(rng) for parameter in kind.parameters]
    wording = pick(rng, kind.asks)
    text = wording.format(*values)
    if rng.random() < 0.1:
        text = text.rstrip("?.")
    elif rng.random() < 0.1:
        text = pick(rng, ["Please: {}", "Hello! {}", "{} Thanks.", "Can you help? {}"]).format(text)
    return text, values, f"{wording}|{'|'.join(map(str, values))}"


def _arguments(made: Offer, values: list[Value]) -> Arguments:
    return dict(zip(made.parameters, values, strict=True))


def tool_call(rng: random.Random) -> Case:
    kind = draw_kind(rng)
    made = offers(rng, kind, rng.choice([0, 0, 0, 1, 1, 2]))
    wanted = next(each for each in made if each.kind is kind)
    text, values, key = _ask(rng, kind)
    answer = call_text(wanted.name, _arguments(wanted, values))
    tools = tuple(each.schema for each in made)
    return Case("tool_call", key, (user(text),), answer, f"I need to call {wanted.name}.", tools)


@dataclass(frozen=True)
class Pair:
    """One question for two places, and the tool that answers it for one."""

    text: str
    places: tuple[Value, Value]
    wanted: Offer
    tools: tuple[Tool, ...]
    key: str


def _pair(rng: random.Random) -> Pair:
    kind = KINDS[rng.choice([0, 0, 1, 6])]
    made = offers(rng, kind, rng.choice([0, 0, 1]))
    wanted = next(each for each in made if each.kind is kind)
    first, second = kind.parameters[0].draw(rng), kind.parameters[0].draw(rng)
    wording = pick(rng, kind.asks)
    both = f"{first} and in {second}" if " in {}" in wording and rng.random() < 0.5 else f"{first} and {second}"
    tools = tuple(each.schema for each in made)
    return Pair(wording.format(both), (first, second), wanted, tools, f"{wording}|{first}|{second}")


def parallel_calls(rng: random.Random) -> Case:
    """Two places in one question: two calls in one turn."""
    pair = _pair(rng)
    answer = "\n".join(call_text(pair.wanted.name, _arguments(pair.wanted, [place])) for place in pair.places)
    thought = f"I need {pair.wanted.name} twice."
    return Case("parallel_calls", pair.key, (user(pair.text),), answer, thought, pair.tools)


def _result(rng: random.Random, kind: Kind) -> tuple[str, str]:
    """What a tool returns, and how the model words it: text as it is, JSON as "key is value"."""
    if rng.random() < 0.45:
        choices = {
            "weather in {}": f"{pick(rng, SKIES)}, {rng.randrange(-9, 40)} degrees",
            "time in {}": f"{rng.randrange(24)}:{rng.randrange(10, 60)}",
            "status of order {}": pick(rng, ["shipped", "delivered", "on its way", "cancelled", "packed", "lost"]),
            "light": "done",
            "timer": "started",
        }
        plain = choices.get(kind.subject) or pick(
            rng, [str(rng.randrange(2000)), word(rng), code(rng), f"{word(rng)} {word(rng)}"]
        )
        if rng.random() < 0.15:
            plain = f"{word(rng)} {rng.randrange(100)}"
        return plain, plain
    if rng.random() < 0.12:
        problem = pick(rng, ["not found", "timeout", "no access", f"unknown {word(rng)}", "service is down"])
        return compact_json({"error": problem}), f"error is {problem}"
    weather: list[tuple[str, Value]] = [
        ("temperature", rng.randrange(-9, 40)), ("temp", rng.randrange(-9, 40)), ("condition", pick(rng, SKIES)),
        ("sky", pick(rng, SKIES)), ("wind", rng.randrange(90)),
    ]  # fmt: skip
    general: list[tuple[str, Value]] = [
        ("result", rng.randrange(2000)), ("status", pick(rng, ["ok", "done", "sent", "open"])), ("value", word(rng)),
        ("answer", rng.randrange(100)), ("id", code(rng)), (word(rng), word(rng)), ("time", f"{rng.randrange(24)}:30"),
    ]  # fmt: skip
    fields = dict(rng.sample(weather if "weather" in kind.subject else general, rng.choice([1, 1, 2, 2])))
    return compact_json(fields), " and ".join(f"{field} is {value}" for field, value in fields.items())


def tool_result(rng: random.Random) -> Case:
    """The turn after a call: the answer repeats what was asked for and says what came back."""
    kind = draw_kind(rng)
    made = offers(rng, kind, rng.choice([0, 0, 1]))
    wanted = next(each for each in made if each.kind is kind)
    text, values, key = _ask(rng, kind)
    returned, worded = _result(rng, kind)
    messages = (
        user(text),
        call_message((wanted.name, _arguments(wanted, values))),
        {"role": "tool", "content": returned},
    )
    subject = kind.subject.format(*values)
    answer = f"The {subject}: {worded}."
    tools = tuple(each.schema for each in made)
    return Case("tool_result", f"{key}|{returned}", messages, answer, "The tool has answered.", tools)


def parallel_results(rng: random.Random) -> Case:
    """After the two calls: a sentence for each."""
    pair = _pair(rng)
    kind = pair.wanted.kind
    results = [_result(rng, kind) for _ in pair.places]
    messages = (
        user(pair.text),
        call_message(*((pair.wanted.name, _arguments(pair.wanted, [place])) for place in pair.places)),
        *({"role": "tool", "content": returned} for returned, _ in results),
    )
    answer = " ".join(
        f"The {kind.subject.format(place)}: {worded}." for place, (_, worded) in zip(pair.places, results, strict=True)
    )
    key = "|".join([pair.key, *(returned for returned, _ in results)])
    return Case("parallel_results", key, messages, answer, "The tools have answered.", pair.tools)


def no_tool(rng: random.Random) -> Case:
    """A request for a tool that is not among those given."""
    kind = rng.choice(KINDS)
    text, _, key = _ask(rng, kind)
    made = [
        offer(rng, other)
        for other in rng.sample([other for other in KINDS if other is not kind], rng.choice([1, 1, 2]))
    ]
    if kind.subject.startswith("sum of") or any({kind.subject, each.kind.subject} == SIMILAR for each in made):
        return no_tool(rng)
    return Case("no_tool", key, (user(text),), NO_TOOL, "No tool fits.", tuple(each.schema for each in made))


# "Look up Ada" may be a search or a user: never offer one in place of the other.
SIMILAR = {"search for {}", "user {}"}


def tools_unused(rng: random.Random) -> Case:
    """Tools are there, but the question is one that the model answers by itself."""
    draws: tuple[Draw, ...] = (
        chat.greeting,
        chat.faq,
        copying.repeat,
        memory.earlier,
        memory.fact,
        chat.greeting,
        chat.faq,
    )
    inner = rng.choice(draws)(rng)
    made = [offer(rng, kind) for kind in rng.sample(KINDS, rng.choice([1, 1, 2]))]
    return replace(inner, skill="tools_unused", tools=tuple(each.schema for each in made))
