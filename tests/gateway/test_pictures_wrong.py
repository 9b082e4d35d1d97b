"""The page of bad pictures: each is a 400 that names its field, in every dialect, costs nothing and leaves nothing
behind. Names whose address changes between check and connection need a name server of their own: test_media_fetch.py
has them, with much else that hosts can do."""

import base64
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import httpx
import pytest

from tests.gateway.pictured import COLOUR, DIALECTS, READS, SEES, Dialect
from tests.support.media_made import png_bomb
from tests.support.pictures import data_url, picture, png
from tests.support.pictures_host import PAGE, Web
from tests.support.server import Server

RED = png(picture("red", "circle"))
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle r="4" fill="red"/></svg>'
MOST = 64
"""Pictures in a request, unless set otherwise."""
WARM_UP, ROUNDS = 150, 500
AT_ONCE = 4

WRONG: dict[str, tuple[Callable[[Web], str], str]] = {
    "truncated": (lambda web: data_url(RED[:200]), "media_unreadable"),
    "truncated base64": (lambda web: data_url(RED)[:-3], "invalid_media"),
    "empty": (lambda web: "data:image/png;base64,", "invalid_media"),
    "20000 x 20000": (lambda web: data_url(huge()), "media_too_large"),
    "SVG": (lambda web: data_url(SVG, "image/svg+xml"), "media_unsupported"),
    "HTML in place of a picture": (lambda web: data_url(PAGE), "media_unreadable"),
    "another type": (lambda web: data_url(RED, "text/html"), "invalid_media"),
    "HTML named .png": (lambda web: web.listed.url("page.png"), "media_unreadable"),
    "truncated on the web": (lambda web: web.listed.url("cut.png"), "media_unreadable"),
    "not there": (lambda web: web.listed.url("none.png"), "media_fetch_failed"),
    "a private host": (lambda web: web.private.url("red.png"), "media_url_forbidden"),
    "a redirect to one": (lambda web: web.listed.url("elsewhere.png"), "media_url_forbidden"),
    "a redirect to a file": (lambda web: web.listed.url("file.png"), "media_url_forbidden"),
    "a file": (lambda web: "file:///etc/passwd", "media_url_forbidden"),
    "another protocol": (lambda web: "ftp://127.0.0.1/red.png", "media_url_forbidden"),
}
each_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)


@cache
def huge() -> bytes:
    return png_bomb(20_000, 20_000)


@pytest.fixture(scope="module")
def http(seeing: Server) -> Iterator[httpx.Client]:
    with seeing.client() as client:
        yield client


def named(dialect: Dialect, at: int, url: str) -> str:
    """Anthropic's has a field of its own for what it is said to be."""
    field = dialect.field(at, url)
    return field.replace("source.data", "source.media_type") if url.startswith("data:text/") else field


def refused(http: httpx.Client, dialect: Dialect, body: dict[str, Any], code: str, field: str) -> None:
    answer = http.post(dialect.path, json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert f"`{field}`" in error["message"]
    assert dialect.refusal(answer.json()) in ((code, field), (None, None))


@each_dialect
@pytest.mark.parametrize("name", WRONG)
def test_what_can_not_be_read_costs_nothing(
    http: httpx.Client, seeing: Server, web: Web, dialect: Dialect, name: str
) -> None:
    """The first picture is fine: the second is named."""
    make, code = WRONG[name]
    before = len(seeing.ledger())
    url = make(web)
    refused(http, dialect, dialect.body(COLOUR, data_url(RED), url), code, named(dialect, 1, url))
    assert sum(row["prompt_tokens"] + row["completion_tokens"] for row in seeing.settled(before, 0)) == 0
    assert web.private.asked == []


@each_dialect
@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (3, 2)], ids=str)
def test_tiny_and_thin_pictures_are_read_or_refused(
    http: httpx.Client, dialect: Dialect, size: tuple[int, int]
) -> None:
    width, height = size
    url = data_url(png(picture("red", "circle", width=width, height=height)))
    answer = http.post(dialect.path, json=dialect.body(COLOUR, url))
    if answer.status_code == 200:
        assert dialect.text(answer.json())
    else:
        refused(http, dialect, dialect.body(COLOUR, url), "media_unsupported", dialect.field(0, url))


@each_dialect
def test_two_hundred_pictures(http: httpx.Client, web: Web, dialect: Dialect) -> None:
    asked = len(web.listed.asked)
    url = web.listed.url("red.png")
    refused(http, dialect, dialect.body(COLOUR, *[url] * 200), "too_many_media", dialect.field(MOST, url))
    assert len(web.listed.asked) == asked


@each_dialect
def test_a_model_that_sees_nothing_says_so_and_fetches_nothing(http: httpx.Client, web: Web, dialect: Dialect) -> None:
    asked = len(web.listed.asked)
    url = web.listed.url("red.png")
    body = {**dialect.body(COLOUR, url), "model": READS}
    answer = http.post(dialect.path, json=body)
    assert answer.status_code == 400 and "sees no pictures" in answer.json()["error"]["message"]
    assert f"`{dialect.field(0, url)}`" in answer.json()["error"]["message"]
    assert len(web.listed.asked) == asked


def test_a_slow_host_is_given_up(http: httpx.Client, web: Web) -> None:
    url = web.listed.url("slow.png")

    def ask(dialect: Dialect) -> None:
        refused(http, dialect, dialect.body(COLOUR, url), "media_fetch_failed", dialect.field(0, url))

    with ThreadPoolExecutor(len(DIALECTS)) as pool:
        list(pool.map(ask, DIALECTS.values()))


def test_counting_refuses_the_same(http: httpx.Client, web: Web) -> None:
    dialect = DIALECTS["messages"]
    for make, _ in WRONG.values():
        url = make(web)
        body = dialect.body(COLOUR, url)
        answer = http.post(f"{dialect.path}/count_tokens", json={name: body[name] for name in ("model", "messages")})
        assert answer.status_code == 400, answer.text
        assert f"`{named(dialect, 0, url)}`" in answer.json()["error"]["message"]
    assert web.private.asked == []


def test_five_hundred_of_them_leave_nothing_behind(http: httpx.Client, seeing: Server, web: Web) -> None:
    """Memory of gateway, engine and decoder, once all have seen everything; a large picture among the rest."""
    large = base64.b64encode(bytes(8 << 20)).decode()
    wrong = [make(web) for make, _ in WRONG.values()] + [f"data:image/png;base64,{large}"]

    def ask(number: int) -> None:
        dialect = list(DIALECTS.values())[number % len(DIALECTS)]
        url = wrong[number % len(wrong)]
        assert http.post(dialect.path, json=dialect.body(COLOUR, url)).status_code == 400

    def ask_all(count: int) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(ask, range(count)))

    ask_all(WARM_UP)
    [engine] = [each for each in seeing.children() if "inference.engine" in each.cmdline() and SEES in each.cmdline()]
    decoders = engine.children(recursive=True)
    there = [seeing.child("gateway"), engine, *decoders]
    before = [process.memory_info().rss for process in there]
    ask_all(ROUNDS)
    after = [process.memory_info().rss for process in there]
    assert engine.children(recursive=True) == decoders, "nothing of this kills a decoder"
    assert sum(after) <= 1.05 * sum(before), (before, after)
    assert DIALECTS["chat"].say(http, COLOUR, data_url(RED)) == "red"
