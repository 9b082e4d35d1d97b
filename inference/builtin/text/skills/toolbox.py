"""The tools that appear in the dialogues: what they are called, which arguments they take, and how people ask for them.

Names of tools, arguments and descriptions vary from case to case, so that the model has to read the schema it is given
instead of knowing the tool by heart.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..cases import Tool, pick, wordings
from ..words import ANIMALS, COLOURS, DAYS, FOODS, city, code, name, word

Value = str | int
DrawValue = Callable[[random.Random], Value]


@dataclass(frozen=True)
class Parameter:
    names: tuple[str, ...]
    draw: DrawValue
    type: str = "string"


@dataclass(frozen=True)
class Kind:
    """A kind of tool. `asks` are wordings with one {} per parameter, in order."""

    names: tuple[str, ...]
    descriptions: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    asks: tuple[str, ...]
    subject: str


@dataclass(frozen=True)
class Offer:
    """A kind as one case offers it: the names chosen, and the schema made of them."""

    kind: Kind
    name: str
    parameters: tuple[str, ...]
    schema: Tool


def _number(rng: random.Random) -> int:
    return rng.randrange(rng.choice([10, 100, 1000]))


def _words(rng: random.Random) -> str:
    return " ".join(word(rng) for _ in range(rng.choice([1, 1, 2, 2, 3])))


def _kind(names: str, descriptions: str, asks: str, *parameters: Parameter, subject: str = "") -> Kind:
    return Kind(tuple(names.split()), wordings(descriptions), parameters, wordings(asks), subject or names.split()[0])


CITY = Parameter(("city", "location", "place", "city", "town", "city_name"), city)
WHO = Parameter(("name", "person", "user", "contact", "to"), name)
TEXT = Parameter(("text", "message", "content", "body"), _words)
A = Parameter(("a", "x", "first", "left"), _number, "integer")
B = Parameter(("b", "y", "second", "right"), _number, "integer")

LANGUAGES = wordings("French|German|Spanish|Italian|Greek|Dutch|Polish|Latin|Danish")

KINDS = (
    _kind("get_weather weather get_current_weather weather_lookup current_weather",
          "Get the weather|Get the current weather|Weather of a city|Returns the weather in a city",
          "What is the weather in {}?|What's the weather in {}?|How is the weather in {}?"
          "|What is the weather like in {}?|Tell me the weather in {}.|Weather in {}?|Is it raining in {}?"
          "|What's the weather like in {} today?|Is it sunny in {}?|Check the weather in {}."
          "|Please get the weather for {}.|Will I need an umbrella in {}?",
          CITY, subject="weather in {}"),
    _kind("get_time current_time time_in get_local_time", "Get the time|Current time of a city|Returns the local time",
          "What time is it in {}?|What is the time in {}?|Tell me the time in {}.|What's the local time in {}?"
          "|Time in {}?",
          CITY, subject="time in {}"),
    _kind("add sum add_numbers calculate_sum", "Add two numbers|Adds numbers|Sum of two numbers",
          "What is {} + {}?|Add {} and {}.|What is {} plus {}?|{} + {}|Calculate {} + {}.|How much is {} + {}?"
          "|What's {} plus {}?|Use the tool to add {} and {}.|What is the sum of {} and {}?",
          A, B, subject="sum of {} and {}"),
    _kind("multiply times multiply_numbers", "Multiply two numbers|Product of two numbers",
          "What is {} times {}?|Multiply {} by {}.|What is {} * {}?|Calculate {} times {}.|How much is {} times {}?",
          A, B, subject="product of {} and {}"),
    _kind("search web_search search_web find", "Search the web|Searches for pages|Find pages about something",
          "Search for {}.|Search the web for {}.|Find {} on the web.|Look up {}.|Please search for {}.|Google {}.",
          Parameter(("query", "q", "term", "text"), _words), subject="search for {}"),
    _kind("send_message send_email notify message", "Send a message to someone|Sends a text|Send a note",
          "Send {} the message {}.|Tell {} this: {}.|Write to {}: {}.|Send a message to {}: {}.|Message {}: {}.",
          WHO, TEXT, subject="message to {}: {}"),
    _kind("get_population population city_population", "Population of a city|How many people live in a city",
          "How many people live in {}?|What is the population of {}?|How big is {}?|Population of {}?",
          CITY, subject="population of {}"),
    _kind("get_price price_of lookup_price", "Price of a product|Look up a price",
          "What does {} cost?|What is the price of {}?|How much is {}?|Price of {}?|How expensive is {}?",
          Parameter(("product", "item", "article"), lambda rng: pick(rng, FOODS) if rng.random() < 0.5 else word(rng)),
          subject="price of {}"),
    _kind("get_user find_user lookup_user get_contact", "Find a user|Look up a person|Data of a user",
          "Find the user {}.|Look up {}.|Who is {}?|Show me the user {}.|Get the contact {}.",
          WHO, subject="user {}"),
    _kind("order_status get_order track_order", "Status of an order|Track an order",
          "Where is my order {}?|What is the status of order {}?|Track order {}.|Check order {}.|Show order {}.",
          Parameter(("order", "order_id", "id", "number"), code), subject="status of order {}"),
    _kind("set_color set_light light_color", "Set the colour of the light|Change the light",
          "Make the light {}.|Set the light to {}.|Turn the light {}.|Change the light to {}.|I want {} light.",
          Parameter(("color", "colour", "value"), lambda rng: pick(rng, COLOURS)), subject="light"),
    _kind("set_timer start_timer timer", "Start a timer|Set a timer in minutes",
          "Set a timer for {} minutes.|Start a timer of {} minutes.|Timer for {} minutes, please."
          "|Wake me in {} minutes.",
          Parameter(("minutes", "duration", "length"), lambda rng: rng.randrange(1, 90), "integer"), subject="timer"),
    _kind("translate translate_word translation", "Translate a word|Translate text into a language",
          "Translate {} into {}.|Translate the word {} to {}.|How do you say {} in {}?|What is {} in {}?",
          Parameter(("text", "word", "phrase"), word),
          Parameter(("language", "target", "lang"),
                    lambda rng: pick(rng, LANGUAGES)),
          subject="translation of {} into {}"),
    _kind("get_route route directions", "Route between two cities|Find the way",
          "How do I get from {} to {}?|Find a route from {} to {}.|Directions from {} to {}."
          "|Show me the way from {} to {}.",
          Parameter(("origin", "start", "from_city", "source"), city),
          Parameter(("destination", "end", "to_city", "target"), city), subject="route from {} to {}"),
    _kind("book_table reserve book", "Book a table|Reserve a table for some people on a day",
          "Book a table for {} on {}.|Reserve a table for {} people on {}.|I need a table for {} on {}.",
          Parameter(("people", "guests", "persons"), lambda rng: rng.randrange(1, 13), "integer"),
          Parameter(("day", "date", "when"), lambda rng: pick(rng, DAYS)), subject="table for {} on {}"),
    _kind("get_fact animal_fact", "A fact about an animal|Tells a fact",
          "Tell me a fact about the {}.|Give me a fact about the {}.|What is a fact about the {}?",
          Parameter(("animal", "topic", "species"), lambda rng: pick(rng, ANIMALS)), subject="fact about the {}"),
)  # fmt: skip


def made_up_kind(rng: random.Random) -> Kind:
    """A tool nobody has heard of, asked for by its name or by its noun."""
    verb, noun, parameter = pick(rng, ["get", "find", "check", "load", "show", "open"]), word(rng, 0.6), word(rng, 0.5)
    draws: list[DrawValue] = [word, code, name, _number, city]
    draw = rng.choice(draws)
    tool = f"{verb}_{noun}"
    asks = (
        f"{verb.capitalize()} the {noun} {{}}.",
        f"{verb.capitalize()} {noun} {{}}.",
        f"Use {tool} with {{}}.",
        f"Call {tool} with {parameter} {{}}.",
        f"Please {verb} the {noun} {{}}.",
    )
    kind = Parameter((parameter,), draw, "integer" if draw is _number else "string")
    return Kind((tool,), (f"{verb.capitalize()} a {noun}", f"Tool for the {noun}"), (kind,), asks, f"{noun} {{}}")


def draw_kind(rng: random.Random) -> Kind:
    if rng.random() < 0.2:
        return made_up_kind(rng)
    return KINDS[0] if rng.random() < 0.12 else rng.choice(KINDS)


def offer(rng: random.Random, kind: Kind) -> Offer:
    """The kind with names chosen and a schema written in one of the styles that clients write."""
    chosen = pick(rng, kind.names)
    parameters = tuple(pick(rng, parameter.names) for parameter in kind.parameters)
    described, titled = rng.random() < 0.35, rng.random() < 0.08
    properties: dict[str, Any] = {}
    for parameter, written in zip(kind.parameters, parameters, strict=True):
        properties[written] = {"type": rng.choice(["number", "integer"]) if parameter.type == "integer" else "string"}
        if described:
            properties[written]["description"] = pick(
                rng, [f"The {written}", written.capitalize(), f"{written} to use"]
            )
        if titled:
            properties[written] = {"title": written.capitalize(), **properties[written]}
    if rng.random() < 0.1:
        properties["unit"] = {"type": "string", "enum": ["celsius", "fahrenheit"]}
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if rng.random() < 0.8:
        schema["required"] = list(parameters)
    if rng.random() < 0.15:
        schema["additionalProperties"] = False
    function: dict[str, Any] = {"name": chosen}
    if rng.random() < 0.75:
        function["description"] = pick(rng, kind.descriptions) + pick(rng, ["", "."])
    function["parameters"] = schema
    if rng.random() < 0.06:
        function["strict"] = True
    return Offer(kind, chosen, parameters, {"type": "function", "function": function})


def offers(rng: random.Random, kind: Kind, others: int) -> list[Offer]:
    """The kind and `others` more, in random order, no two of one kind or one name."""
    kinds = [kind, *(other for other in rng.sample(KINDS, len(KINDS)) if other is not kind)][: others + 1]
    made = [offer(rng, each) for each in kinds]
    rng.shuffle(made)
    return made
