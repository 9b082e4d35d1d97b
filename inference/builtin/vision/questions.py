"""Questions about one picture, about two, and about none, each with the one answer it has."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from inference.builtin.vision.scenes import Scene, Thing

Turn = tuple[str, str]  # question, answer

_DESCRIBE = ("Describe the picture.", "Describe this image.", "What is in the picture?", "What do you see?",
             "What is shown here?", "What can you see in the image?", "Describe what you see.")  # fmt: skip
_SAME_COLOUR = ("Are both the same colour?", "Do both have the same colour?", "Is the colour the same?",
                "Do the two pictures show the same colour?", "Are they the same colour?")  # fmt: skip
_DIFFERENCE = ("Which differs?", "What differs?", "What is the difference?", "What is different?",
               "Compare the two pictures.", "Which differs, the colour or the shape?",
               "What differs between the two pictures?")  # fmt: skip
_PLACES = ("in the picture", "in this picture", "in the image", "here", "")


def vary(rng: random.Random, question: str) -> str:
    """The question as somebody else would have typed it: American, in lower case, unpunctuated, politely."""
    if rng.random() < 0.25:
        question = question.replace("olour", "olor")
    if rng.random() < 0.15:
        question = question.rstrip("?.")
    if rng.random() < 0.15:
        question = question[0].lower() + question[1:]
    if rng.random() < 0.12:
        question += rng.choice((" Answer in one word.", " Please answer briefly.", " Be brief."))
    return question


def ask_colour(rng: random.Random, scene: Scene) -> Turn | None:
    """The colour of the only thing, or of one whose shape is the only one of its kind; None where there is none."""
    thing = _only(rng, scene, lambda one: one.shape)
    if thing is None:
        return None
    named = [f"What colour is the {thing.shape}?", f"Which colour does the {thing.shape} have?",
             f"What is the colour of the {thing.shape}?", f"Name the colour of the {thing.shape}."]  # fmt: skip
    unnamed = ["What colour is it?", "What colour is the shape?", "Which colour is this?", "What colour is this?",
               "Name the colour.", "What is the colour of the shape?", "What colour do you see?",
               f"What colour is the shape {_place(rng)}?"]  # fmt: skip
    return _tidy(rng.choice(named if len(scene.things) > 1 or rng.random() < 0.45 else unnamed)), thing.colour


def ask_shape(rng: random.Random, scene: Scene) -> Turn | None:
    """The shape of the only thing, or of one whose colour is the only one of its kind; None where there is none."""
    thing = _only(rng, scene, lambda one: one.colour)
    if thing is None:
        return None
    colour = thing.colour
    named = [f"What shape is the {colour} one?", f"Which shape is {colour}?", f"What shape is {colour}?",
             f"What is the {colour} shape?", f"What shape is the {colour} thing?"]  # fmt: skip
    unnamed = ["What shape is it?", "Which shape is this?", "What shape is this?", "Name the shape.",
               "What shape do you see?", "Which shape do you see?", f"What shape is {_place(rng)}?",
               f"Which shape is {_place(rng)}?", "What is the shape?"]  # fmt: skip
    return _tidy(rng.choice(named if len(scene.things) > 1 or rng.random() < 0.3 else unnamed)), thing.shape


def ask_count(rng: random.Random, scene: Scene) -> Turn | None:
    """How many things there are, of all or of one shape or colour that is there."""
    kinds = ["shapes", "things", "objects"]
    wanted, number = rng.choice(kinds), len(scene.things)
    roll = rng.random()
    if roll < 0.3:
        shape, number = rng.choice(list(Counter(thing.shape for thing in scene.things).items()))
        wanted = "crosses" if shape == "cross" else shape + "s"
    elif roll < 0.42:
        colour, number = rng.choice(list(Counter(thing.colour for thing in scene.things).items()))
        wanted = f"{colour} {wanted}"
    question = rng.choice((f"How many {wanted} are there?", f"How many {wanted} are {_place(rng)}?",
                           f"Count the {wanted}.", f"How many {wanted} do you see?",
                           f"How many {wanted} can you see?"))  # fmt: skip
    return _tidy(question), str(number)


def ask_description(rng: random.Random, scene: Scene) -> Turn | None:
    """Everything in the picture, from left to right."""
    return rng.choice(_DESCRIBE), describe(scene.things)


SINGLE: dict[str, Callable[[random.Random, Scene], Turn | None]] = {
    "colour": ask_colour,
    "shape": ask_shape,
    "count": ask_count,
    "describe": ask_description,
}


def ask_comparison(rng: random.Random, first: Thing, second: Thing) -> Turn:
    """Two pictures with a thing each: are colour or shape the same, what differs, which one shows what."""
    same_colour, same_shape = first.colour == second.colour, first.shape == second.shape
    kinds = ["colour", "shape", "difference", "difference"]
    if not same_colour:
        kinds += ["which colour"]
    if not same_shape:
        kinds += ["which shape"]
    kind = rng.choice(kinds)
    # What is seen comes before the verdict: a small model that says yes or no first has only guessed.
    colours, shapes = f"{first.colour} and {second.colour}: ", f"{first.shape} and {second.shape}: "
    if kind == "colour":
        return rng.choice(_SAME_COLOUR), colours + ("yes" if same_colour else "no")
    if kind == "shape":
        question = rng.choice(_SAME_COLOUR).replace("colour", "shape")
        return question, shapes + ("yes" if same_shape else "no")
    if kind == "difference":
        parts = ([] if same_colour else ["the colour"]) + ([] if same_shape else ["the shape"])
        seen = describe((first, second)).removesuffix(".")
        return rng.choice(_DIFFERENCE), f"{seen}: {' and '.join(parts) or 'nothing'}."
    asked, answer = rng.choice(((first, "the first"), (second, "the second")))
    what = asked.colour if kind == "which colour" else f"a {asked.shape}"
    shown = f"is {what}" if kind == "which colour" else f"shows {what}"
    return rng.choice((f"Which picture {shown}?", f"Which one {shown}?", f"Which image {shown}?")), (
        colours if kind == "which colour" else shapes
    ) + answer


_GREETING = "Hello! Show me a picture and ask me about its colours and shapes."
_SELF = "I am atelier-tiny-vl, a small demo and test vision model that ships with Atelier."
_SKILLS = "I name colours, shapes and numbers in simple pictures, compare two pictures and say what changes in a clip."
_BLIND = "I see no picture. Please attach one."
_TALK: tuple[tuple[tuple[str, ...], str], ...] = (
    (("Hello", "Hi", "Hey", "Good morning", "Hello there", "Hi there", "Good evening", "Hey there"), _GREETING),
    (("Who are you?", "What are you?", "What is your name?", "Which model are you?", "Tell me about yourself.",
      "What model is this?"), _SELF),
    (("What can you do?", "What are you for?", "How can you help me?", "Help", "What do you know?"), _SKILLS),
    (("Thanks", "Thank you", "Thanks a lot", "Thank you very much"), "You are welcome!"),
    (("Bye", "Goodbye", "See you", "Good night"), "Goodbye!"),
    (("What colour is it?", "What shape is it?", "How many shapes are there?", "Describe the picture.",
      "What do you see?", "What changes?", "What is in the picture?", "What colour is the circle?"), _BLIND),
)  # fmt: skip
_ENDINGS = ("", "", "!", ".", "?", " :)", "...", " please", ", friend")


def ask_without_picture(rng: random.Random) -> Turn:
    """Small talk, and a question about a picture that is not there."""
    questions, answer = rng.choice(_TALK)
    question = rng.choice(questions)
    if rng.random() < 0.6:
        question = question.rstrip("?.") + rng.choice(_ENDINGS)
    if rng.random() < 0.3:
        question = question.lower() if rng.random() < 0.7 else question.upper()
    return question, answer


def describe(things: tuple[Thing, ...]) -> str:
    """'A red circle, an orange star and a blue cross.'"""
    if not things:
        return "Nothing."
    names = [("an " if thing.name[0] in "aeiou" else "a ") + thing.name for thing in things]
    text = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return text[0].upper() + text[1:] + "."


def _only(rng: random.Random, scene: Scene, kind: Callable[[Thing], str]) -> Thing | None:
    counts = Counter(kind(thing) for thing in scene.things)
    alone = [thing for thing in scene.things if counts[kind(thing)] == 1]
    return rng.choice(alone) if alone else None


def _place(rng: random.Random) -> str:
    return rng.choice(_PLACES)


def _tidy(question: str) -> str:
    """Close the gap that an empty place leaves before the question mark."""
    return question.replace(" ?", " there?" if question.endswith((" is ?", " are ?")) else "?")
