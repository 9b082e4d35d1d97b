"""Reading bodies: what is no JSON, what is nested absurdly, what has the wrong shape."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.body import MAX_DEPTH, MAX_PARTS, decode, depth_of, refuse_unsupported, without_effect
from gateway.errors import ApiError


class Inner(msgspec.Struct):
    name: str


class Outer(msgspec.Struct):
    inner: list[Inner]
    bias: dict[str, int] = {}
    number: int | None = None


read_outer = msgspec.json.Decoder(Outer)


def refused(body: bytes) -> ApiError:
    with pytest.raises(ApiError) as caught:
        decode(body, read_outer)
    assert caught.value.status == 400
    assert caught.value.type == "invalid_request_error"
    return caught.value


def depth(value: Any) -> int:
    match value:
        case dict():
            return 1 + max(map(depth, value.values()), default=0)
        case list():
            return 1 + max(map(depth, value), default=0)
        case _:
            return 0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='ab[]{}"\\ é', max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='a[]{}"\\', max_size=4), inner),
)


@given(json_values, st.lists(st.booleans(), max_size=4), st.integers(0, MAX_DEPTH // 2))
def test_depth_is_judged_by_brackets_outside_of_strings(value: Any, shape: list[bool], times: int) -> None:
    for as_list in shape * times:
        value = [value] if as_list else {"[": value, "}": '"]'}
    body = json.dumps(value).encode()
    assert depth_of(body) == depth(value)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 20_000,
        b"[" * 20_000 + b"]" * 20_000,
        b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
        b"[{" * 20_000,
        b'{"inner":[],"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    ],
)
def test_absurd_nesting_is_refused(body: bytes) -> None:
    error = refused(body)
    assert error.param is None and error.code is None
    assert str(MAX_DEPTH) in error.message


@pytest.mark.parametrize("part", [b"[],", b'"",', b"{},"])
def test_millions_of_parts_are_refused(part: bytes) -> None:
    refused(b'{"inner": [], "unknown": [' + part * (MAX_PARTS + 1) + b"0]}")


def test_brackets_in_strings_do_not_count() -> None:
    name = "[{" * 20_000 + '\\"[' * 10
    outer, _ = decode(json.dumps({"inner": [{"name": name}]}).encode(), read_outer)
    assert outer.inner[0].name == name


@pytest.mark.parametrize("tail", [b'"', b"\\", b'"\\', b'"\\"' * 1000 + b"\\", b'\\"' * 100_000])
def test_unfinished_strings_are_no_json(tail: bytes) -> None:
    refused(b'{"inner": ' + tail)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nope",
        b'{"inner": [}',
        b'{"inner": []',
        b'{"inner": [], "number": NaN}',
        b'{"inner": [], "number": Infinity}',
        b'{"inner": [{"name": "\xff"}]}',
        b'{"inner": [], "unknown": "\xff"}',
        b'{"inner": [{"name": "\\ud800"}]}',
        b'{"inner": [{"name": "\\udc00\\ud800"}]}',
        b'\xef\xbb\xbf{"inner": []}',
        '{"inner": []}'.encode("utf-16"),
        b"\x1f\x8b\x08\x00",
    ],
)
def test_what_is_no_json_is_said_to_be_none(body: bytes) -> None:
    error = refused(body)
    assert "JSON" in error.message
    assert error.param is None and error.code is None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ("[]", None),
        ('"text"', None),
        ("{}", "inner"),
        ('{"inner": null}', "inner"),
        ('{"inner": {}}', "inner"),
        ('{"inner": [1]}', "inner[0]"),
        ('{"inner": [{"name": "a"}, {}]}', "inner[1].name"),
        ('{"inner": [{"name": true}]}', "inner[0].name"),
        ('{"inner": [], "bias": {"a": "b"}}', "bias"),
        ('{"inner": [], "number": 1.5}', "number"),
        ('{"inner": [], "number": true}', "number"),
        ('{"inner": [], "number": ' + "9" * 5000 + "}", "number"),
    ],
)
def test_a_misfit_names_its_field(body: str, param: str | None) -> None:
    error = refused(body.encode())
    assert error.param == param
    assert error.code is None
    if param is not None:
        assert f"`{param}`" in error.message


def test_duplicate_keys_and_explicit_null_are_fine() -> None:
    outer, fields = decode(b'{"inner": [], "number": 1, "number": null, "more": [1]}', read_outer)
    assert outer == Outer(inner=[])
    assert without_effect(fields, {"inner", "number"}) == ["more"]


def test_unsupported_fields_pass_only_where_they_ask_for_nothing() -> None:
    known: dict[str, tuple[Any, ...]] = {"n": (1,), "tools": ([],), "audio": ()}
    _, fields = decode(b'{"inner": [], "n": 1, "tools": [ ], "audio": null}', read_outer)
    refuse_unsupported(fields, known)
    for extra, param in [('"n": 2', "n"), ('"n": true', "n"), ('"n": 1.0', "n"), ('"audio": {}', "audio")]:
        _, fields = decode(f'{{"inner": [], {extra}}}'.encode(), read_outer)
        with pytest.raises(ApiError) as caught:
            refuse_unsupported(fields, known)
        assert caught.value.status == 400
        assert caught.value.param == param
