"""The words the generated dialogues are made of, and made-up ones so that copying is learnt rather than a list."""

import random


def pool(text: str) -> tuple[str, ...]:
    """Words separated by white space; an underscore stands for a space inside one."""
    return tuple(word.replace("_", " ") for word in text.split())


NAMES = pool(
    "Ada Tom Mia Leo Nora Ben Eva Max Zoe Sam Ida Paul Ruth Omar Lena Hugo Iris Ivan Olga Finn Grace Alan Linus "
    "Maria Priya Chen Yuki Amir Sara Felix Clara Anna Otto Emma Noah Lucy Jack Rosa Karl Nina Bob Alice Carol "
    "Dave Erin Frank Heidi Mallory Peggy Victor Wendy Oscar Tina Uma Kofi Aisha Diego Elena Marco Sofia"
)
CITIES = pool(
    "Paris Rome Berlin London Madrid Vienna Oslo Lisbon Tokyo Delhi Cairo Lima Dublin Athens Prague Warsaw Zurich "
    "Geneva Boston Chicago Seattle Denver Austin Toronto Sydney Nairobi Seoul Beijing Hamburg Munich Milan Naples "
    "Lyon Porto Kyoto Osaka Bergen Helsinki Stockholm Budapest Reykjavik New_York San_Francisco Cape_Town "
    "Buenos_Aires Hong_Kong"
)
COLOURS = pool("red blue green yellow purple orange pink black white brown grey silver gold teal crimson indigo violet")
ANIMALS = pool("cat dog horse rabbit parrot fox owl bear mouse duck goat turtle hamster lion tiger whale frog bee")
FOODS = pool("pizza soup bread rice pasta salad cheese cake sushi curry apples noodles tacos honey")
JOBS = pool("teacher doctor baker pilot nurse farmer painter writer engineer singer plumber chemist lawyer gardener")
WORDS = pool(
    "apple river stone cloud table chair window garden bridge mountain paper pencil bottle candle mirror pocket "
    "winter summer spring autumn morning evening music dance story letter number planet rocket engine wheel "
    "button ladder basket blanket kitchen market village castle forest desert island ocean harbor anchor sailor "
    "captain doctor lemon banana cherry grape melon peach orange carrot potato tomato onion pepper butter sugar "
    "coffee hello world good day night light water fire earth wind snow rain storm thunder silver copper iron "
    "glass wood sand leaf flower tree bird fish tiger zebra monkey camel panda rabbit quiet loud happy brave "
    "clever gentle strong simple bright small large"
)
DAYS = pool("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
SKIES = pool("sunny cloudy rainy windy foggy snowy clear stormy mild humid")
ASCII_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def made_up(rng: random.Random) -> str:
    """A pronounceable word of 3 to 9 letters that means nothing."""
    starts = pool("b c d f g h j k l m n p r s t v w z br ch cl dr fl gr kr pl sh st th tr")
    middles = pool("a e i o u ai ea oo ou")
    ends = ["", "", "n", "r", "l", "s", "t", "x", "m", "nd", "rk", "sh"]
    return "".join(rng.choice(starts) + rng.choice(middles) for _ in range(rng.choice([1, 2, 2, 3]))) + rng.choice(ends)


def foreign(rng: random.Random) -> str:
    """A few signs whose UTF-8 takes two to four bytes, so that streams have characters to split."""
    first, last, longest = rng.choice(
        [(0xE0, 0x100, 5), (0x3B1, 0x3CA, 6), (0x430, 0x450, 6), (0x4E00, 0x4E80, 3), (0x1F600, 0x1F640, 2)]
    )
    return "".join(chr(rng.randrange(first, last)) for _ in range(rng.randrange(1, longest + 1)))


def code(rng: random.Random) -> str:
    """An identifier such as A-4821, ZX81 or 90210."""
    letters = "".join(rng.choice("ABCDEFGHJKLMNPRSTXZ") for _ in range(rng.choice([0, 1, 1, 2, 3])))
    digits = "".join(rng.choice("0123456789") for _ in range(rng.choice([2, 3, 4, 5])))
    return letters + rng.choice(["", "", "-"] if letters else [""]) + digits


def word(rng: random.Random, made_up_share: float = 0.35) -> str:
    return made_up(rng) if rng.random() < made_up_share else rng.choice(WORDS)


def name(rng: random.Random) -> str:
    return made_up(rng).capitalize() if rng.random() < 0.2 else rng.choice(NAMES)


def city(rng: random.Random) -> str:
    return made_up(rng).capitalize() if rng.random() < 0.2 else rng.choice(CITIES)
