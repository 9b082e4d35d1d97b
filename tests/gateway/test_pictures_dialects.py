"""Pictures in every dialect: seen, counted, kept with what is stored, shown by tools, and paid for before anything of
them is computed."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.gateway.pictured import COLOUR, DIALECTS, SEES, SHAPE, Dialect, image_block
from tests.support.pictures import data_url, picture, png
from tests.support.pictures_host import Web
from tests.support.server import Server

RED, BLUE = data_url(picture("red", "circle")), data_url(picture("blue", "square"))
RESPONSES, MESSAGES, CHAT = (DIALECTS[name] for name in ("responses", "messages", "chat"))
BOTH = "the colour and the shape."
each_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)


@pytest.fixture(scope="module")
def http(seeing: Server) -> Iterator[httpx.Client]:
    with seeing.client() as client:
        yield client


def respond(http: httpx.Client, input: Any, **fields: Any) -> Any:
    body = {"model": SEES, "temperature": 0, "max_output_tokens": 32, "input": input, **fields}
    answer = http.post(RESPONSES.path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def shown(url: str, question: str, **more: Any) -> list[dict[str, Any]]:
    parts = [{"type": "input_image", "image_url": url, **more}, {"type": "input_text", "text": question}]
    return [{"role": "user", "content": parts}]


@each_dialect
def test_it_sees(http: httpx.Client, web: Web, dialect: Dialect) -> None:
    assert dialect.say(http, COLOUR, RED) == "red"
    assert dialect.say(http, SHAPE, BLUE) == "square"
    assert dialect.say(http, COLOUR, web.listed.url("blue.png")) == "blue"
    assert dialect.say(http, COLOUR, web.listed.url("here.png")) == "red", "by a redirect"


@each_dialect
def test_two_are_compared(http: httpx.Client, dialect: Dialect) -> None:
    assert dialect.say(http, "What differs?", RED, BLUE) == f"A red circle and a blue square: {BOTH}"
    assert dialect.say(http, "What differs?", BLUE, RED) == f"A blue square and a red circle: {BOTH}"


@each_dialect
def test_usage_is_the_ledgers(http: httpx.Client, seeing: Server, dialect: Dialect) -> None:
    before = len(seeing.ledger())
    one = dialect.usage(dialect.ask(http, COLOUR, RED))[0]
    two = dialect.usage(dialect.ask(http, COLOUR, RED, BLUE))[0]
    rows = seeing.settled(before, 2)
    assert [row["prompt_tokens"] for row in rows] == [one, two]
    assert two - one >= 16


def test_diagnostics_count_them(http: httpx.Client) -> None:
    told = CHAT.ask(http, COLOUR, RED, BLUE, include_diagnostics=True)["diagnostics"]
    assert told["visual_inputs"] == 2 and told["visual_token_estimate"] >= 32
    told = CHAT.ask(http, COLOUR, include_diagnostics=True)["diagnostics"]
    assert (told["visual_inputs"], told["visual_token_estimate"]) == (0, None)


@pytest.mark.parametrize("urls", [(), (RED,), (RED, BLUE)], ids=len)
def test_counting_is_what_a_message_then_uses(http: httpx.Client, seeing: Server, urls: tuple[str, ...]) -> None:
    rows = len(seeing.ledger())
    body = MESSAGES.body(COLOUR, *urls)
    counted = http.post("/v1/messages/count_tokens", json={name: body[name] for name in ("model", "messages")})
    assert counted.status_code == 200, counted.text
    assert len(seeing.ledger()) == rows, "nothing is charged"
    assert counted.json() == {"input_tokens": MESSAGES.usage(MESSAGES.ask(http, COLOUR, *urls))[0]}


# --- responses that are stored ---------------------------------------------------------------------------------------


def test_a_stored_response_is_continued_with_its_picture(http: httpx.Client) -> None:
    first = respond(http, shown(RED, COLOUR))
    second = respond(http, SHAPE, previous_response_id=first["id"])
    third = respond(http, COLOUR, previous_response_id=second["id"])
    assert [RESPONSES.text(each).strip() for each in (first, second, third)] == ["red", "circle", "red"]
    cached = second["usage"]["input_tokens_details"]["cached_tokens"]
    assert cached >= first["usage"]["input_tokens"] - 1, "the picture is in the cache"


def test_input_items_have_the_picture_as_it_was_sent(http: httpx.Client) -> None:
    first = respond(http, shown(RED, COLOUR, detail="high"))
    query = {"include[]": "message.input_image.image_url"}
    [item] = http.get(f"{RESPONSES.path}/{first['id']}/input_items", params=query).json()["data"]
    assert item["content"][0] == {"type": "input_image", "image_url": RED, "detail": "high", "file_id": None}
    # What came from here goes back in, as it is and by its name.
    again = respond(http, [item, {"role": "user", "content": SHAPE}])
    named = respond(http, [{"type": "item_reference", "id": item["id"]}, {"role": "user", "content": SHAPE}])
    assert RESPONSES.text(again).strip() == RESPONSES.text(named).strip() == "circle"


def test_what_is_not_stored_is_not_there(http: httpx.Client) -> None:
    first = respond(http, shown(RED, COLOUR), store=False)
    answer = http.post(RESPONSES.path, json={"model": SEES, "input": SHAPE, "previous_response_id": first["id"]})
    assert answer.status_code == 400


def test_a_picture_that_is_gone_from_the_web_is_named(http: httpx.Client, web: Web) -> None:
    """An address is kept as an address, and asked again."""
    pages = dict(web.listed.pages)
    web.listed.pages = {**pages, "gone.png": png(picture("red", "circle"))}
    first = respond(http, shown(web.listed.url("gone.png"), COLOUR))
    assert RESPONSES.text(first).strip() == "red"
    web.listed.pages = pages
    answer = http.post(RESPONSES.path, json={"model": SEES, "input": SHAPE, "previous_response_id": first["id"]})
    code, param = RESPONSES.refusal(answer.json())
    assert (answer.status_code, code) == (400, "media_fetch_failed")
    assert param == "previous_response_id.items[0].content[0].image_url"


# --- tools that show -------------------------------------------------------------------------------------------------


def test_a_tool_shows_a_picture_in_chat(http: httpx.Client) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    content = [{"type": "image_url", "image_url": {"url": BLUE}}]
    messages = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": content},
        {"role": "user", "content": COLOUR},
    ]
    assert CHAT.text(CHAT.ask(http, "", messages=messages)).strip() == "blue"


def test_a_function_shows_a_picture_in_responses(http: httpx.Client) -> None:
    output = [{"type": "input_text", "text": "Here."}, {"type": "input_image", "image_url": BLUE}]
    items = [
        {"role": "user", "content": "Look."},
        {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": output},
        {"role": "user", "content": COLOUR},
    ]
    first = respond(http, items)
    assert RESPONSES.text(first).strip() == "blue"
    assert RESPONSES.text(respond(http, SHAPE, previous_response_id=first["id"])).strip() == "square"


@pytest.mark.parametrize("failed", [False, True])
def test_a_tool_shows_a_picture_in_messages(http: httpx.Client, failed: bool) -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": [image_block(BLUE)], "is_error": failed}
    messages = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "look", "input": {}}]},
        {"role": "user", "content": [result, {"type": "text", "text": COLOUR}]},
    ]
    answer = MESSAGES.ask(http, "", messages=messages)
    assert MESSAGES.text(answer).strip() == "blue"
    # Its picture comes first, that of the user after it: each is what stands in its place.
    messages[-1]["content"] = [result, image_block(RED), {"type": "text", "text": "Which one is red?"}]
    assert MESSAGES.text(MESSAGES.ask(http, "", messages=messages)).strip() == "blue and red: the second"


# --- what it costs ---------------------------------------------------------------------------------------------------


def encoded(http: httpx.Client) -> int:
    detail = http.get("/health/diagnostics", params={"model": SEES}).json()["checks"]["pictures"]["detail"]
    return int(detail.split()[0])


def test_a_quota_that_its_pictures_overdraw(http: httpx.Client, seeing: Server, web: Web) -> None:
    """Their tokens are known before anything of them is computed: 429, and nothing was."""
    seeing.run("createuser", "limited")
    key = seeing.run("createkey", "--user", "limited", "--quiet").strip()
    seeing.run("setquota", "--user", "limited", "--metric", "tokens", "--window", "day", "--limit", "80")
    shots = [data_url(picture("green", "star", x=0.3 + number / 10)) for number in range(5)]
    before, rows = encoded(http), len(seeing.ledger())
    with httpx.Client(base_url=seeing.base_url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as limited:
        for dialect in DIALECTS.values():
            answer = limited.post(dialect.path, json=dialect.body(COLOUR, *shots))
            assert answer.status_code == 429, answer.text
        for row in seeing.settled(rows, len(DIALECTS)):
            assert (row["outcome"], row["prompt_tokens"], row["engine_seconds"]) == ("refused", 0, 0)
        # One of them is affordable, and once there is nothing left, nothing is fetched.
        assert CHAT.say(limited, COLOUR, shots[0]) == "green"
        asked = len(web.listed.asked)
        refused = limited.post(CHAT.path, json=CHAT.body("word " * 400, web.listed.url("red.png")))
        assert refused.status_code == 429 and len(web.listed.asked) == asked
    time.sleep(1.5)  # by then a heartbeat has told of all that was encoded
    assert encoded(http) == before + 1


# --- detail ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("detail", ["low", "high", "auto", "original", None])
def test_detail(http: httpx.Client, detail: str | None) -> None:
    """`low` is a smaller picture; what that saves depends on how a model reads pictures."""
    large = data_url(picture("red", "circle", width=1200, height=1200))
    messages = CHAT.body(COLOUR, large)["messages"]
    messages[0]["content"][0]["image_url"]["detail"] = detail
    answer = http.post(CHAT.path, json={**CHAT.body(COLOUR), "messages": messages})
    assert answer.status_code == 200 and CHAT.text(answer.json()).strip() == "red"
    assert "x-ignored-parameters" not in answer.headers
    assert RESPONSES.text(respond(http, shown(large, COLOUR, detail=detail))).strip() == "red"


def test_what_anthropics_blocks_have_beside(http: httpx.Client) -> None:
    body = MESSAGES.body(COLOUR, RED)
    block = body["messages"][0]["content"][0]
    block["cache_control"] = {"type": "ephemeral"}
    block["source"]["name"] = "red.png"
    answer = http.post(MESSAGES.path, json=body)
    assert answer.status_code == 200
    ignored = answer.headers["x-ignored-parameters"].split(", ")
    assert ignored == ["messages.content.cache_control", "messages.content.source.name"]
