"""From a request's bytes to a typed struct. Whatever is wrong with them is a 400 that says where."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from itertools import accumulate
from typing import Any, TypeVar

import msgspec
from msgspec import inspect as types

from gateway import errors
from gateway.errors import ApiError

MAX_DEPTH = 100
MAX_PARTS = 1_000_000
# Always matches at a quote, up to the string's end or the body's: so it never backtracks or scans twice.
STRING = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?', re.DOTALL)
NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
STEPS = [{ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}.get(byte, 0) for byte in range(256)]
PATH = re.compile(r"`\$(?P<path>[^`]*)`$")
MISSING = re.compile(r"^Object missing required field `(?P<name>[^`]+)`")

T = TypeVar("T", bound=msgspec.Struct)
Fields = dict[str, msgspec.Raw]


def one_of(values: Iterable[str]) -> msgspec.Meta:
    """For the schema alone: the values of a field that are checked in code, where a better message can be made."""
    return msgspec.Meta(extra_json_schema={"enum": list(values)})


read_fields = msgspec.json.Decoder(Fields).decode


def decode(body: bytes, decoder: "msgspec.json.Decoder[T]") -> tuple[T, Fields]:
    """The struct, and every field of the body by name as raw JSON. Raises ApiError."""
    try:
        body.decode()  # msgspec skips strings that no field wants without looking at them
    except UnicodeDecodeError:
        raise errors.invalid_json("it is not valid UTF-8") from None
    # Both before anything is built of it: a parser that recurses could fail, and millions of parts would block us.
    if sum(body.count(mark) for mark in b'"[{') > MAX_PARTS:
        raise errors.invalid_json(f"it has more than {MAX_PARTS} quotes and brackets")
    if depth_of(body) > MAX_DEPTH:
        raise errors.invalid_json(f"its brackets nest deeper than {MAX_DEPTH} levels")
    try:
        return decoder.decode(body), read_fields(body)
    except msgspec.ValidationError as error:
        raise misfit(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.invalid_json(f"{error}; check quotes, commas and brackets") from None


def depth_of(body: bytes) -> int:
    """How deep brackets outside of strings nest. Where they don't match, a parser stops before the rest matters."""
    brackets = STRING.sub(b"", body).translate(None, NOT_BRACKETS)
    return max(accumulate(map(STEPS.__getitem__, brackets)), default=0)


def misfit(error: msgspec.ValidationError) -> ApiError:
    """A field that is missing, of the wrong type or out of range, named as OpenAI does: `messages[0].content`."""
    text = str(error)
    found = PATH.search(text)
    path = found["path"].removeprefix(".").replace("[...]", "") if found else ""
    if missing := MISSING.match(text):
        param = f"{path}.{missing['name']}" if path else missing["name"]
        return errors.invalid(f"`{param}` is required.", param=param)
    reason = text[: text.find(" - at `")] if found else text
    if not path:
        return errors.invalid(f"The request body must be a JSON object. {reason}.")
    return errors.invalid(f"`{path}`: {reason[:1].lower()}{reason[1:200]}.", param=path)


def refuse_unsupported(fields: Fields, known: Mapping[str, tuple[Any, ...]]) -> None:
    """400 for a field that is known but can't be honoured, unless it says what is done anyway: null, or a value of
    `known[field]`."""
    for name in known.keys() & fields.keys():
        value = msgspec.json.decode(fields[name])
        neutral = known[name]
        if value is None or any(type(value) is type(same) and value == same for same in neutral):
            continue
        shown = " or ".join(msgspec.json.encode(same).decode() for same in neutral)
        raise errors.not_supported(name, f"leave it out{f' or send {shown}' if shown else ''}")


def without_effect(fields: Fields, known: Collection[str], within: str = "") -> list[str]:
    """The names of those fields that nothing here looks at, nulls aside; `within` names the object that they are in."""
    unread = [name for name, value in fields.items() if name and name not in known and bytes(value) != b"null"]
    return [f"{within}.{name}" if within else name for name in unread]


def without_effect_inside(fields: Fields, struct: type[msgspec.Struct], but: Collection[str] = ()) -> list[str]:
    """The names of those fields that nothing looks at and that are inside of fields that `struct` does look at, at any
    depth: `tools.function.parameters` is one's own affair, `tools.function.weight` would be named. `but`: fields that
    are left aside."""
    names: list[str] = []
    for name, of in _fields_of(struct).items():
        if name in fields and name not in but:
            names += _unread(msgspec.json.decode(fields[name]), of, name)
    return names


@cache
def _fields_of(struct: type[msgspec.Struct]) -> dict[str, types.Type]:
    info = types.type_info(struct)
    assert isinstance(info, types.StructType)
    return {field.encode_name: field.type for field in info.fields if _holds_objects(field.type)}


def _holds_objects(of: types.Type) -> bool:
    match of:
        case types.StructType():
            return True
        case types.UnionType(types=several):
            return any(map(_holds_objects, several))
        case types.ListType(item_type=one) | types.Metadata(type=one):
            return _holds_objects(one)
    return False


def _unread(value: Any, of: types.Type, within: str) -> Iterator[str]:
    match of, value:
        case types.Metadata(type=one), _:
            yield from _unread(value, one, within)
        case types.UnionType(types=several), _:
            for one in several:
                yield from _unread(value, one, within)
        case types.ListType(item_type=one), list():
            for each in value:
                yield from _unread(each, one, within)
        case types.StructType(fields=fields), dict():
            known = {field.encode_name: field.type for field in fields}
            for name, inner in value.items():
                if name in known:
                    yield from _unread(inner, known[name], f"{within}.{name}")
                elif inner not in (None, [], {}):
                    # Clients send answers back with all their empty fields.
                    yield f"{within}.{name}"
