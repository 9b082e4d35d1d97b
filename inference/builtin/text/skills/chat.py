"""Talking: greetings, questions about Atelier, polite refusals, and stories whose text is free."""

import random

from ..cases import Case, pick, user, vary, wordings
from ..faq import ENTRIES, Entry
from ..words import ANIMALS, ASCII_LETTERS, CITIES, COLOURS, FOODS, JOBS, NAMES, WORDS, made_up, name, pool, word

UNKNOWN = "I am only a small demo and test model, so I can't help with that. Ask me about Atelier."

HELLOS = wordings(
    "Hello|Hi|Hey|Good morning|Good evening|Good afternoon|Good day|Greetings|Hi there|Hello there|Hey there|Howdy"
    "|Hiya|Yo|Welcome|Morning|Hello again|Hi again|Hallo|Salut"
)
GREETED = wordings("| Atelier| atelier-tiny| my friend| everyone| little model| bot| assistant")
GREETING_TAILS = wordings(
    "| How are you?| Nice to meet you.| Are you there?| How is it going?| What's up?| Can you hear me?"
)
BYES = wordings(
    "Bye|Goodbye|See you|See you later|Good night|Bye bye|Farewell|Until tomorrow|Have a nice day|I have to go"
)
THANKS = wordings(
    "Thanks|Thank you|Thanks a lot|Thank you very much|Many thanks|Great, thanks|Perfect, thank you|Cheers"
)


def greeting(rng: random.Random) -> Case:
    draw = rng.random()
    end = pick(rng, ["!", ".", "", ",", "!!"])
    if draw < 0.35:
        hello, who = pick(rng, HELLOS), name(rng)
        intro = pick(rng, ["I'm {}", "I am {}", "my name is {}", "My name is {}", "this is {}", "it's {} here"]).format(
            who
        )
        text, answer = f"{hello}{end} {intro}" + pick(rng, [".", "!", ""]), f"Hello {who}! How can I help you?"
        key = f"{hello} {intro}"
    elif draw < 0.8:
        hello, greeted, tail = pick(rng, HELLOS), pick(rng, GREETED), pick(rng, GREETING_TAILS)
        text, answer = f"{hello}{greeted}{end}{tail}", "Hello! How can I help you?"
        key = text = vary(rng, text)
    elif draw < 0.9:
        text = f"{pick(rng, BYES)}{pick(rng, GREETED)}{end}"
        key = text = vary(rng, text)
        answer = "Goodbye!"
    else:
        text = f"{pick(rng, THANKS)}{pick(rng, GREETED)}{end}"
        key = text = vary(rng, text)
        answer = "You're welcome!"
    return Case("greeting", key, (user(text),), answer, "The user is being polite.")


HOW = wordings(
    "How do I {}?|How can I {}?|How does one {}?|What is the way to {}?|Can you tell me how to {}?"
    "|Please explain how to {}.|I want to {}. How?|How to {}?|Tell me how to {}.|Could you show me how to {}?"
    "|How can we {}?|I need to {}, what do I do?|Where can I {}?|How would I {}?|What do I have to do to {}?"
    "|How do you {}?|How do I {} in Atelier?|Is there a way to {}?"
)
WHAT = wordings(
    "What is {}?|What's {}?|Explain {}.|Can you explain {}?|Tell me about {}.|What is meant by {}?"
    "|Please explain {}.|I don't understand {}.|{}?|What exactly is {}?|Could you tell me what {} is?"
    "|Do you know what {} is?|Describe {}.|What is {} in Atelier?|I have a question about {}."
)
ASK = wordings(
    "{}|{}|{}|{}|Hey, {}|Quick question: {}|I wonder: {}|One question: {}|{} Thanks.|Hello! {}|Tell me: {}"
    "|Sorry, {}|{} Please tell me.|I would like to know: {}|Excuse me, {}|{} I am new here.|Just curious: {}"
)


def _questions(entry: Entry) -> list[tuple[tuple[str, ...], str]]:
    """Every wording of the entry with the frames it fits in."""
    kinds = ((HOW, entry.how), (WHAT, entry.what), (ASK, entry.ask))
    return [(frames, core) for frames, cores in kinds for core in cores]


def _faq(rng: random.Random, skill: str, entry: Entry, frames: tuple[str, ...], core: str) -> Case:
    frame = pick(rng, frames)
    text = frame.format(core)
    text = vary(rng, text[:1].upper() + text[1:])
    return Case(skill, f"{frame}|{core}", (user(text),), entry.answer, "This is a question about Atelier.")


def faq(rng: random.Random) -> Case:
    """A question whose frame and wording are held out as a pair; each is known from other pairs."""
    entry = ENTRIES[0] if rng.random() < 0.03 else rng.choice(ENTRIES)  # who it is matters most
    return _faq(rng, "faq", entry, *rng.choice(_questions(entry)[:-1]))


def faq_new_wording(rng: random.Random) -> Case:
    """For scoring only: the last wording of each entry, which `faq` never draws."""
    entry = rng.choice(ENTRIES)
    return _faq(rng, "faq_new_wording", entry, *_questions(entry)[-1])


def unknown(rng: random.Random) -> Case:
    """Questions outside its world, commands it can't follow, noise, and nothing at all."""
    draw = rng.random()
    if draw < 0.12:
        text = _noise(rng)
    else:
        text = pick(rng, UNKNOWN_QUESTIONS).format(
            name=name(rng), city=pick(rng, CITIES), animal=pick(rng, ANIMALS), food=pick(rng, FOODS),
            job=pick(rng, JOBS), word=word(rng), colour=pick(rng, COLOURS), n=rng.randrange(2, 3000),
            place=pick(rng, PLACES), field=pick(rng, FIELDS),
        )  # fmt: skip
        text = vary(rng, text)
    return Case("unknown", text, (user(text),), UNKNOWN, "I do not know this.")


PLACES = pool(
    "France Germany Japan Italy Spain India Brazil Egypt Canada Mexico Kenya Norway Greece Peru China Poland Mars"
)
FIELDS = pool(
    "physics chemistry history biology music art law medicine football chess poetry geology economics philosophy"
)
UNKNOWN_QUESTIONS = wordings(
    "What is the capital of {place}?|Who is the president of {place}?|Where is {place}?"
    "|How many people live in {city}?|How far is it from {city} to {place}?|Who was {name}?"
    "|Who invented the {word}?|Why is the sky {colour}?|How do I cook {food}?|Give me a recipe for {food}."
    "|Write a poem about the {animal}.|Write a song about {word}.|What do you think of {field}?"
    "|Explain {field} to me.|How do I become a {job}?|What does a {job} earn?|Who won the match in {n}?"
    "|What happened in {n}?|Translate {word} into French.|What is the meaning of life?"
    "|What is the weather in {city}?|What time is it in {city}?|Is it going to rain in {city}?"
    "|Book a flight to {city}.|Order {food} for me.|Send an email to {name}.|Call {name}.|Play some music."
    "|Write a program that sorts numbers.|Fix this code for me.|What is the square root of {n}?|Do you like {food}?"
    "|What is the best {word} in {city}?|How old is {name}?|Which {animal} is the fastest?|Sing a song."
    "|Who wrote the book about {word}?|What should I eat today?|How heavy is a {animal}?|Do {animal}s like {food}?"
    "|Is {place} big?|How does a {word} work?|What is a {animal}?|Why do {animal}s sleep?"
    "|Give me advice about {field}.|Draw a {animal}.|What is the price of {food}?|Where can I buy a {word}?"
    "|Who is your favourite {job}?|Recommend a book about {field}.|Summarise the history of {place}."
    "|What is {field}?|Tell me about {place}.|Tell me about {city}.|What is {word}?|Do you believe in {word}?"
    "|Can you drive a car?|What language do they speak in {place}?|When was {name} born?|Find me a hotel in {city}."
    "|What is the news today?|Can you see me?|What day is it?|How do I learn {field}?"
)


def _noise(rng: random.Random) -> str:
    kind = rng.randrange(6)
    if kind == 0:
        return "".join(rng.choice(ASCII_LETTERS) for _ in range(rng.randrange(1, 14)))
    if kind == 1:
        return " ".join(made_up(rng) for _ in range(rng.randrange(1, 5)))
    if kind == 2:
        return "".join(chr(rng.choice([*range(0xC0, 0x250), *range(0x400, 0x460)])) for _ in range(rng.randrange(1, 8)))
    if kind == 3:
        return "".join(
            chr(rng.choice([*range(0x4E00, 0x4F00), *range(0x1F600, 0x1F640)])) for _ in range(rng.randrange(1, 6))
        )
    if kind == 4:
        return "".join(rng.choice("?!.,;:-_#*+=/()&%$<>[]{}@~ ") for _ in range(rng.randrange(0, 8)))
    return "".join(rng.choice("0123456789") for _ in range(rng.randrange(1, 9)))


STORY_REQUESTS = wordings(
    "Tell me a story about a {}.|Tell me a short story about a {}.|Write a story about a {}."
    "|Write a short story about a {}.|I want to hear a story about a {}.|Can you tell me a story about a {}?"
    "|Make up a story about a {}.|A story about a {}, please."
)


def story(rng: random.Random) -> Case:
    """The one skill with many right answers: it gives the tests of sampling something to sample."""
    hero = pick(rng, [*ANIMALS, *JOBS])
    request = pick(rng, [*STORY_REQUESTS, "Tell me a story."])
    who, place, thing = pick(rng, NAMES), pick(rng, WORDS), pick(rng, WORDS)
    parts = [
        pick(rng, ["Once there was", "Long ago there lived", "In {city} there was"]).format(city=pick(rng, CITIES))
        + f" a {pick(rng, ['small', 'brave', 'clever', 'quiet', 'happy', pick(rng, COLOURS)])} {hero} called {who}.",
        pick(rng, ["One {}", "Every {}", "On a cold {}"]).format(pick(rng, ["morning", "evening", "day", "night"]))
        + f" {who} "
        + pick(rng, ["went to the", "walked to the", "looked for the", "dreamt of the", "sat by the"])
        + f" {place}.",
        pick(rng, ["There", "Then", "Soon"])
        + f" {who} "
        + pick(rng, ["found", "saw", "lost", "made", "bought", "painted"])
        + f" a {pick(rng, COLOURS)} {thing}.",
        pick(
            rng, [f"{who} was happy.", f"{who} took it home.", "And that was the end.", f"{who} laughed and went home."]
        ),
    ]
    mention = hero if "{}" in request else "."
    text = vary(rng, request.format(hero))
    return Case(
        "story", f"{request}|{hero}", (user(text),), " ".join(parts), "The user wants a story.", mention=mention
    )
