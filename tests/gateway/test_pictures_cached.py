"""What the prefix cache finds of prompts with pictures, asked over HTTP: the table."""

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.gateway.pictured import COLOUR, DIALECTS, SEES, SHAPE, Dialect
from tests.support.pictures import data_url, picture
from tests.support.server import Server

HOW_MANY = "How many shapes are there?"
PICTURE_TOKENS = 16
"""Of the smallest picture, at least."""
ROUNDED_SECONDS = 0.1
"""By so much the age of a heartbeat may be off."""

each_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
numbers = itertools.count()


def new(colour: str = "red", shape: str = "circle") -> str:
    """One that nobody has shown yet: its first pixel is new."""
    shot, number = picture(colour, shape), next(numbers)
    shot.putpixel((0, 0), (number, 128, 128))
    return data_url(shot)


@pytest.fixture(scope="module")
def http(seeing: Server) -> Iterator[httpx.Client]:
    with seeing.client() as client:
        yield client


class Encoder:
    """How many pictures have gone through it, as `/health/diagnostics` says."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def looked(self) -> int:
        """By a heartbeat that has left since the last answer came."""
        asked = time.monotonic()
        while True:
            sent = time.monotonic()
            report = self._http.get("/health/diagnostics", params={"model": SEES}).json()
            age = float(report["checks"]["engine"]["detail"].split()[1])
            if sent - asked - age > ROUNDED_SECONDS:
                return int(report["checks"]["pictures"]["detail"].split()[0])
            time.sleep(0.1)


@pytest.fixture(scope="module")
def encoder(http: httpx.Client) -> Encoder:
    return Encoder(http)


def tokens(http: httpx.Client, dialect: Dialect, question: str, *urls: str) -> tuple[int, int]:
    return dialect.usage(dialect.ask(http, question, *urls))


@each_dialect
def test_the_same_picture_and_question_hit(http: httpx.Client, encoder: Encoder, dialect: Dialect) -> None:
    url = new()
    prompt, cached = tokens(http, dialect, COLOUR, url)
    assert cached < PICTURE_TOKENS
    looked = encoder.looked()
    # The last token is computed in any case.
    assert tokens(http, dialect, COLOUR, url) == (prompt, prompt - 1)
    assert encoder.looked() == looked


@each_dialect
def test_another_question_hits_up_to_the_question(http: httpx.Client, encoder: Encoder, dialect: Dialect) -> None:
    url = new()
    tokens(http, dialect, COLOUR, url)
    looked = encoder.looked()
    prompt, cached = tokens(http, dialect, HOW_MANY, url)
    assert PICTURE_TOKENS <= cached < prompt - 1
    assert encoder.looked() == looked, "the encoder is left alone"


def test_another_picture_never_hits(http: httpx.Client, encoder: Encoder) -> None:
    """Of the same size, with the same question."""
    chat, looked = DIALECTS["chat"], encoder.looked()
    answers = [chat.ask(http, COLOUR, new(colour)) for colour in ("red", "blue", "red")]
    assert [chat.text(answer).strip() for answer in answers] == ["red", "blue", "red"]
    assert all(chat.usage(answer)[1] < PICTURE_TOKENS for answer in answers)
    assert encoder.looked() == looked + 3


def test_the_order_of_two_pictures_matters(http: httpx.Client, encoder: Encoder) -> None:
    chat, one, two = DIALECTS["chat"], new("red"), new("blue", "square")
    prompt, _ = tokens(http, chat, "Which one is red?", one, two)
    looked = encoder.looked()
    swapped = tokens(http, chat, "Which one is red?", two, one)
    assert swapped[0] == prompt and swapped[1] < PICTURE_TOKENS
    # Neither is found behind what it stood behind, but what the encoder made of them is known.
    assert encoder.looked() == looked
    first = tokens(http, chat, COLOUR, one)
    assert PICTURE_TOKENS <= first[1] < first[0] - 1, "the first is where it was"


def test_another_team_finds_nothing(http: httpx.Client, seeing: Server, encoder: Encoder) -> None:
    """How fast an answer comes must not tell what others have shown."""
    chat, url = DIALECTS["chat"], new()
    seeing.run("createuser", "neighbour")
    key = seeing.run("createkey", "--user", "neighbour", "--quiet").strip()
    tokens(http, chat, COLOUR, url)
    looked = encoder.looked()
    with httpx.Client(base_url=seeing.base_url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as neighbour:
        assert tokens(neighbour, chat, COLOUR, url)[1] == 0
        assert encoder.looked() == looked + 1
        prompt, cached = tokens(neighbour, chat, COLOUR, url)
        assert cached == prompt - 1


def test_one_dialect_finds_what_another_left(http: httpx.Client, encoder: Encoder) -> None:
    url = new("green", "star")
    prompts = {name: tokens(http, dialect, COLOUR, url) for name, dialect in DIALECTS.items()}
    [prompt] = {prompt for prompt, _ in prompts.values()}
    assert [cached for _, cached in prompts.values()][1:] == [prompt - 1, prompt - 1]


def test_it_survives_batching(http: httpx.Client, encoder: Encoder) -> None:
    """Eight pictures asked about at once, then again at once: all are found, and each gets its own answer."""
    chat = DIALECTS["chat"]
    colours = ["red", "blue", "green", "yellow", "red", "blue", "green", "yellow"]
    urls = [new(colour) for colour in colours]

    def all_at_once(question: str) -> list[Any]:
        with ThreadPoolExecutor(len(urls)) as pool:
            return list(pool.map(lambda url: chat.ask(http, question, url), urls))

    assert [chat.text(answer).strip() for answer in all_at_once(COLOUR)] == colours
    looked = encoder.looked()
    again = all_at_once(COLOUR)
    assert [chat.text(answer).strip() for answer in again] == colours
    assert all(chat.usage(answer)[1] == chat.usage(answer)[0] - 1 for answer in again)
    others = all_at_once(SHAPE)
    assert [chat.text(answer).strip() for answer in others] == ["circle"] * len(urls)
    assert all(chat.usage(answer)[1] >= PICTURE_TOKENS for answer in others)
    assert encoder.looked() == looked


def test_another_size_of_the_same_picture_is_another(http: httpx.Client) -> None:
    chat, shot = DIALECTS["chat"], picture("red", "circle", width=600, height=600, x=0.33)
    tokens(http, chat, COLOUR, data_url(shot))
    small = shot.resize((96, 96), Image.Resampling.BICUBIC)
    assert tokens(http, chat, COLOUR, data_url(small))[1] < PICTURE_TOKENS
