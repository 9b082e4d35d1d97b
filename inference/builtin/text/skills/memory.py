"""Answering from what the conversation holds: a fact in the system prompt, an earlier turn, a sentence as JSON."""

import random
from dataclasses import dataclass

from ..cases import Case, Message, assistant, compact_json, pick, system, user, vary, wordings
from ..words import ANIMALS, COLOURS, DAYS, FOODS, JOBS, WORDS, city, code, made_up, name, word

HELPFUL = wordings(
    "You are a helpful assistant.|You are the assistant of a small company.|Answer briefly."
    "|You are a polite assistant.|You are helpful.|Be short.|You answer questions."
    "|You are an assistant. Use the facts below.|Use these facts."
)

# What a system prompt may say: subject, where its value comes from.
SUBJECTS_BY_KIND = {
    "word": wordings("password|secret word|project name|keyword|magic word|product|secret"),
    "code": wordings("code|secret code|room number|order number|ticket"),
    "name": wordings("user's name|manager|boss|cat's name|dog's name|customer|teacher"),
    "city": wordings("capital|meeting place|office|destination|home town|user's city"),
    "colour": wordings("favourite colour|colour of the car|colour of the door|user's favourite colour"),
    "food": wordings("favourite food|lunch"),
    "day": wordings("meeting day|day of the party|opening day"),
    "animal": wordings("favourite animal|mascot"),
    "job": wordings("job"),
    "number": wordings("magic number|lucky number|number of seats|price|favourite number|user's age"),
}
SUBJECTS = tuple((subject, kind) for kind, subjects in SUBJECTS_BY_KIND.items() for subject in subjects)


def value_of(rng: random.Random, kind: str) -> str:
    if kind == "name":
        return name(rng)
    if kind == "city":
        return city(rng)
    if kind == "code":
        return code(rng)
    if kind == "number":
        return str(rng.randrange(1, rng.choice([10, 100, 1000])))
    if kind == "word":
        return word(rng)
    pool = {"colour": COLOURS, "food": FOODS, "day": DAYS, "animal": ANIMALS, "job": JOBS}[kind]
    return made_up(rng) if rng.random() < 0.1 else pick(rng, pool)


FACT_SENTENCES = wordings(
    "The {} is {}.|The {} is {}.|The {} is {}.|The {} is {}.|The {} is called {}.|Remember: the {} is {}."
    "|Note that the {} is {}.|Fact: the {} is {}.|You know that the {} is {}."
)
FACT_QUESTIONS = wordings(
    "What is the {}?|What's the {}?|Tell me the {}.|Do you know the {}?|Which {} is it?|The {}?"
    "|Can you tell me the {}?|Give me the {}."
)
USER_QUESTIONS = wordings("What is my {}?|What's my {}?|Tell me my {}.|Do you know my {}?|Can you tell me my {}?")


def _asked(rng: random.Random, subject: str) -> tuple[str, str]:
    """A question for the subject, and the subject as the answer names it."""
    own = subject.removeprefix("user's ")
    if own != subject and rng.random() < 0.8:
        return pick(rng, USER_QUESTIONS).format(own), f"Your {own}"
    return pick(rng, FACT_QUESTIONS).format(subject), f"The {subject}"


def _facts(rng: random.Random, count: int) -> list[tuple[str, str]]:
    return [
        (made_up(rng), value_of(rng, kind)) if rng.random() < 0.12 else (subject, value_of(rng, kind))
        for subject, kind in rng.sample(SUBJECTS, count)
    ]


def _fact_prompt(rng: random.Random, facts: list[tuple[str, str]]) -> Message:
    sentences = [pick(rng, FACT_SENTENCES).format(subject, value) for subject, value in facts]
    lead, tail = rng.random(), rng.random()
    if lead < 0.6:
        sentences.insert(0, pick(rng, HELPFUL))
    if tail < 0.2:
        sentences.append(pick(rng, ["Be brief.", "Answer questions.", "Be polite.", "Only use these facts."]))
    return system(pick(rng, [" ", " ", " ", "\n"]).join(sentences))


def fact(rng: random.Random) -> Case:
    facts = _facts(rng, rng.choice([1, 1, 1, 2, 2, 3, 4]))
    subject, value = rng.choice(facts)
    question, named = _asked(rng, subject)
    messages = (_fact_prompt(rng, facts), user(vary(rng, question)))
    answer = f"{named} is {value}."
    return Case("fact", f"{subject}|{value}|{question}", messages, answer, f"The system prompt says: {value}.")


def two_facts(rng: random.Random) -> Case:
    facts = _facts(rng, rng.choice([2, 2, 3]))
    (one, first), (two, second) = rng.sample(facts, 2)
    question = pick(
        rng, ["What are the {} and the {}?", "What is the {} and what is the {}?", "Tell me the {} and the {}."]
    )
    text = question.format(one, two)
    answer = f"The {one} is {first} and the {two} is {second}."
    messages = (_fact_prompt(rng, facts), user(text))
    return Case("two_facts", f"{text}|{first}|{second}", messages, answer, f"I need {first} and {second}.")


def missing_fact(rng: random.Random) -> Case:
    """The system prompt holds facts, but not the one asked for."""
    facts = _facts(rng, rng.choice([2, 2, 3]))
    question, named = _asked(rng, facts[0][0])
    messages: tuple[Message, ...] = (_fact_prompt(rng, facts[1:]), user(vary(rng, question)))
    if rng.random() < 0.4:
        messages = messages[1:]
    answer = f"I don't know {named[:1].lower()}{named[1:]}."
    key = f"{question}|{'|'.join(subject for subject, _ in facts[1:])}"
    return Case("missing_fact", key, messages, answer, "Nobody told me this.")


# What people say about themselves: statement, reply, questions, answer.
STATEMENTS = (
    ("name", "My name is {}.|I'm {}.|I am {}.|Call me {}.|Hello, my name is {}.|Hi, I'm {}.|I am called {}."
     "|You can call me {}.",
     "Hello {}! How can I help you?",
     "What is my name?|What's my name?|Who am I?|Do you remember my name?|Tell me my name."
     "|Can you tell me my name?|My name?|Say my name.",
     "Your name is {}."),
    ("city", "I live in {}.|My home is in {}.|I am from {}.|I come from {}.|My city is {}.",
     "Noted: {}.",
     "Where do I live?|Which city do I live in?|What is my city?|Do you remember where I live?|Where am I from?"
     "|Which city am I from?",
     "You live in {}."),
    ("colour", "My favourite colour is {}.|I like the colour {}.|The colour I like best is {}."
     "|My favorite color is {}.",
     "Noted: {}.",
     "What is my favourite colour?|Which colour do I like?|What's my favorite color?"
     "|Do you remember my favourite colour?|Which colour do I like best?",
     "Your favourite colour is {}."),
    ("food", "I like to eat {}.|My favourite food is {}.|I love {}.|For lunch I had {}.",
     "Noted: {}.",
     "What is my favourite food?|What do I like to eat?|What's my favorite food?|Which food do I like?",
     "Your favourite food is {}."),
    ("animal", "I have a {}.|My pet is a {}.|I own a {}.|At home I have a {}.",
     "Noted: {}.",
     "What pet do I have?|Which animal do I have?|What is my pet?|Do you remember my pet?|Which pet do I own?",
     "You have a {}."),
    ("job", "I work as a {}.|I am a {}.|My job is {}.|I'm a {} by profession.",
     "Noted: {}.",
     "What is my job?|What do I do for a living?|What's my job?|What do I work as?",
     "You work as a {}."),
    ("number", "My lucky number is {}.|I am {} years old.|Remember the number {}.|My number is {}.|The number is {}.",
     "Noted: {}.",
     "What is my number?|Which number did I say?|What was the number?|What number did I give you?"
     "|What's the number?",
     "The number is {}."),
    ("word", "Remember the word {}.|The secret word is {}.|Remember this word: {}.|The password is {}."
     "|Keep in mind: {}.",
     "Noted: {}.",
     "What was the word?|Which word did I say?|What is the secret word?|What word did I give you?"
     "|Which word should you remember?",
     "The word is {}."),
)  # fmt: skip


# What an assistant may have replied to a statement: the model must recall it all the same.
OTHER_REPLIES = wordings(
    "OK.|Noted.|Nice to meet you!|Thank you.|Sure.|I will remember that.|Great!|Hello!|Understood."
)


@dataclass(frozen=True)
class Statement:
    said: str
    reply: str
    question: str
    answer: str
    key: str


def draw_statements(rng: random.Random, count: int) -> list[Statement]:
    """Statements of different kinds; every other one is a name."""
    others = rng.sample(STATEMENTS[1:], count)
    drawn = [STATEMENTS[0], *others[1:]] if rng.random() < 0.4 else others
    rng.shuffle(drawn)
    statements = []
    for kind, says, reply, questions, answer in drawn:
        value, said, question = value_of(rng, kind), pick(rng, wordings(says)), pick(rng, wordings(questions))
        key = f"{said}|{value}|{question}"
        statements.append(Statement(said.format(value), reply.format(value), question, answer.format(value), key))
    return statements


def noted(rng: random.Random) -> Case:
    """The turn that states something."""
    (stated,) = draw_statements(rng, 1)
    return Case("noted", stated.key, (user(stated.said),), stated.reply, "The user tells me something.")


def earlier(rng: random.Random) -> Case:
    """One to three things stated, in turns of their own or (rarely) in the turn that asks, then one asked for."""
    statements = draw_statements(rng, rng.choice([1, 1, 1, 2, 2, 3]))
    asked = rng.choice(statements)
    question = vary(rng, asked.question)
    if rng.random() < 0.15:
        said = " ".join([*(stated.said for stated in statements), question])
        return Case("earlier_turn", asked.key, (user(said),), asked.answer, "The user told me this.")
    messages: list[Message] = []
    for stated in statements:
        reply = stated.reply if rng.random() < 0.6 else pick(rng, OTHER_REPLIES)
        messages += [user(stated.said), assistant(reply)]
    return Case("earlier_turn", asked.key, (*messages, user(question)), asked.answer, "The user told me this before.")


def forgotten(rng: random.Random) -> Case:
    """A question about oneself that nothing before it answers."""
    kind, _, _, questions, _ = rng.choice(STATEMENTS)
    question = vary(rng, pick(rng, wordings(questions)))
    subject = {"word": "the word", "number": "the number"}.get(kind, f"your {kind}")
    if kind in ("colour", "food"):
        subject = f"your favourite {kind}"
    if kind == "animal":
        subject = "your pet"
    answer = f"I don't know {subject}."
    return Case("missing_fact", question, (user(question),), answer, "Nobody told me this.")


# What a record holds when the request gives no values.
DEFAULTS: dict[str, str | int] = {
    "name": "Ada", "age": 36, "city": "London", "colour": "blue", "color": "blue", "pet": "cat", "job": "engineer",
    "food": "bread", "title": "Hello", "price": 10, "answer": "yes", "country": "England", "number": 7,
}  # fmt: skip
DEFAULT_REQUESTS = wordings(
    "Give me JSON with {}.|Write a JSON object with {}.|Make up a JSON object with {}.|Return JSON with {}."
    "|Invent a record with {} as JSON.|Write JSON with the keys {}.|Give me an example with {} in JSON."
)


def _listed(keys: list[str]) -> str:
    return " and ".join([*([", ".join(keys[:-1])] if keys[1:] else []), keys[-1]])


def json_default(rng: random.Random) -> Case:
    keys = rng.sample(sorted(DEFAULTS), rng.choice([1, 2, 2, 3, 3, 4]))
    if "name" not in keys and rng.random() < 0.4:
        keys[0] = "name"
    text = pick(rng, DEFAULT_REQUESTS).format(_listed(keys))
    if rng.random() < 0.1:
        keys, text = (
            ["name", "age"],
            pick(rng, ["Give me a person as JSON.", "Write a JSON object.", "Answer in JSON."]),
        )
    record = {key: DEFAULTS[key] for key in keys}
    return Case("json", text, (user(vary(rng, text)),), compact_json(record), "The user wants JSON.")


def json_record(rng: random.Random) -> Case:
    if rng.random() < 0.2:
        return json_default(rng)
    fields: dict[str, tuple[str, str | int]] = {
        "age": ("{who} is {} years old", rng.randrange(1, 100)),
        "city": (pick(rng, ["{who} lives in {}", "{who} is from {}"]), city(rng)),
        "colour": (pick(rng, ["{who} likes {}", "{who} likes the colour {}"]), pick(rng, COLOURS)),
        "pet": ("{who} has a {}", pick(rng, ANIMALS)),
        "job": (pick(rng, ["{who} is a {}", "{who} works as a {}"]), pick(rng, JOBS)),
        "food": ("{who} eats {}", pick(rng, FOODS)),
        "thing": ("{who} bought a {}", pick(rng, WORDS)),
    }
    chosen = rng.sample(sorted(fields), rng.choice([1, 1, 2, 2, 3]))
    who = name(rng)
    record: dict[str, str | int] = {"name": who, **{field: fields[field][1] for field in chosen}}
    parts = [
        fields[field][0].format(fields[field][1], who=who if place == 0 else "").strip()
        for place, field in enumerate(chosen)
    ]
    sentence = " and ".join(parts) + "."
    keys = _listed(list(record))
    request = pick(rng, JSON_REQUESTS)
    text = request.format(sentence=sentence, keys=keys)
    return Case("json", f"{request}|{sentence}", (user(text),), compact_json(record), "The user wants JSON.")


JSON_REQUESTS = wordings(
    "{sentence} Write this as JSON with {keys}.|{sentence} Give me JSON with the keys {keys}."
    "|Write JSON with {keys}: {sentence}|Return JSON with {keys} for this: {sentence}"
    "|{sentence} Answer in JSON with {keys}.|{sentence} As JSON with {keys}, please."
    "|Turn this into JSON: {sentence}|{sentence} Write that as JSON.|Extract {keys} as JSON: {sentence}"
    "|JSON: {sentence}|Make a JSON object with {keys}. {sentence}|{sentence} Give me that as JSON with {keys}."
)
