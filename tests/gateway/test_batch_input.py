"""What is made of the lines of a batch's input, whatever they hold."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import Batch
from gateway.batches.reading import MOST_ERRORS, Found, Reading, lines_of

GOOD = {
    "custom_id": "a",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]},
}


def reading_of(*lines: bytes) -> Reading:
    """After it has read them all."""
    reading = Reading(Batch(endpoint=GOOD["url"]), {"tiny": "tiny", "default": "tiny", "other": "other"}.get)
    for found in lines_of([b"\n".join(lines)], longest=1 << 21):
        reading.line(found)
    reading.finish()
    return reading


def line(**fields: Any) -> bytes:
    return json.dumps({**GOOD, **fields}).encode()


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in GOOD.items() if key != name}).encode()


@pytest.mark.parametrize(
    ("given", "code", "param"),
    [
        (b"nonsense", "invalid_json_line", None),
        (b'{"custom_id": "a"', "invalid_json_line", None),
        (line() + b" " + line(), "invalid_json_line", None),
        (b"\xff\xfe" + line(), "invalid_json_line", None),
        (line(custom_id="\u00e9").replace(b"\\u00e9", b"\xe9"), "invalid_json_line", None),
        (line(custom_id="x").replace(b'"x"', b'"\\ud800"'), "invalid_json_line", None),
        (b"\0", "invalid_json_line", None),
        (b"[" * 100_000, "invalid_json_line", None),
        (line(body={"model": "tiny", "x": []}).replace(b"[]", b"[" * 200 + b"]" * 200), "invalid_json_line", None),
        (b"[]", "invalid_request", None),
        (b"null", "invalid_request", None),
        (b'"a"', "invalid_request", None),
        (without("custom_id"), "invalid_request", None),
        (without("method"), "invalid_request", None),
        (without("url"), "invalid_request", None),
        (without("body"), "invalid_request", None),
        (line(custom_id=7), "invalid_request", None),
        (line(custom_id=None), "invalid_request", None),
        (line(custom_id=""), "invalid_custom_id", "custom_id"),
        (line(custom_id="a\0"), "invalid_custom_id", "custom_id"),
        (line(custom_id="a" * 513), "invalid_custom_id", "custom_id"),
        (line(method="GET"), "invalid_method", "method"),
        (line(url="/v1/completions"), "url_mismatch", "url"),
        (line(url="http://elsewhere/v1/chat/completions"), "url_mismatch", "url"),
        (line(body=[]), "invalid_request", "body"),
        (line(body={}), "invalid_request", "body"),
        (line(body={"model": 3}), "invalid_request", "body"),
        (line(body={**GOOD["body"], "stream": True}), "invalid_request", "body.stream"),
        (line(body={**GOOD["body"], "stream": "yes"}), "invalid_request", "body"),
        (line(body={"model": "gpt\0"}), "model_not_found", "body.model"),
    ],
    ids=range(30),
)
def test_what_can_not_be_run(given: bytes, code: str, param: str | None) -> None:
    reading = reading_of(line(custom_id="before"), given, line(custom_id="after"))
    [problem] = reading.problems
    assert (problem["code"], problem["param"], problem["line"]) == (code, param, 2)
    assert "\0" not in problem["message"] and len(problem["message"]) < 400
    assert reading.total == 3


def test_ends_of_lines_marks_and_blanks() -> None:
    """As editors on any system leave them."""
    text = b"\xef\xbb\xbf" + line(custom_id="a") + b"\r\n\r\n   \n\t" + line(custom_id="b") + b"\r\n\n"
    found = list(lines_of([text], longest=1 << 20))
    assert [each.number for each in found] == [1, 4]
    assert [text[each.offset : each.offset + len(each.text)] for each in found] == [each.text for each in found]
    assert [json.loads(each.text)["custom_id"] for each in found] == ["a", "b"]


@pytest.mark.parametrize("text", [b"", b"\n", b" \r\n\n", b"\xef\xbb\xbf"])
def test_nothing_in_it(text: bytes) -> None:
    assert [problem["code"] for problem in reading_of(text).problems] == ["empty_file"]


@given(st.lists(st.sampled_from([b"{}", b"", b"  x ", b"\n", b"\r", b"a" * 40, b"b" * 400]), max_size=20), st.data())
def test_pieces_make_no_difference(parts: list[bytes], data: st.DataObject) -> None:
    text = b"\n".join(parts)
    whole = list(lines_of([text], longest=100))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert list(lines_of(pieces, longest=100)) == whole
    for each in whole:
        if not each.too_long:
            assert text[each.offset : each.offset + len(each.text)] == each.text
    expected = [(at, each.strip()) for at, each in enumerate(text.split(b"\n"), 1) if each.strip()]
    assert [(each.number, each.text) for each in whole] == [
        (number, b"" if len(each) > 100 else each) for number, each in expected
    ]


def test_a_long_line_is_read_and_a_longer_one_is_not_even_kept() -> None:
    long = line(custom_id="long", body={**GOOD["body"], "padding": "x" * 1_000_000})
    assert reading_of(long).problems == []
    longer = line(custom_id="longer", body={**GOOD["body"], "padding": "x" * (1 << 21)})
    [problem] = reading_of(line(), longer, line(custom_id="b")).problems
    assert (problem["code"], problem["line"]) == ("invalid_json_line", 2)
    assert "ATELIER_MAX_BODY_MB" in problem["message"]


def test_an_id_is_used_once() -> None:
    reading = reading_of(line(), line(custom_id="<b>\r\nx: y"), line(), line(custom_id="<b>\r\nx: y"))
    assert [(each["code"], each["line"]) for each in reading.problems] == [("duplicate_custom_id", n) for n in (3, 4)]
    assert "\n" not in reading.problems[1]["message"]


def test_not_more_errors_than_anyone_reads() -> None:
    assert len(reading_of(*[b"x"] * 1000).problems) == MOST_ERRORS


def test_too_many_lines(settings: Any) -> None:
    settings.BATCH_MOST_LINES = 2
    assert reading_of(*(line(custom_id=str(n)) for n in range(2))).problems == []
    reading = reading_of(*(line(custom_id=str(n)) for n in range(3)))
    assert reading.problems[0]["code"] == "too_many_tasks" and reading.is_hopeless


def test_which_model_it_is_for() -> None:
    """By its own name, whatever the lines call it."""
    assert reading_of(line(), line(custom_id="b", body={"model": "default"})).model == "tiny"
    assert reading_of(line(), line(custom_id="b", body={"model": "other"})).model == ""


def test_a_line_keeps_its_place() -> None:
    reading = Reading(Batch(endpoint=GOOD["url"]), {"tiny": "tiny"}.get)
    stored = reading.line(Found(7, 100, line()))
    assert stored is not None
    assert (stored.number, stored.offset, stored.length, stored.custom_id) == (7, 100, len(line()), "a")
