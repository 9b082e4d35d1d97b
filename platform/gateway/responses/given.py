"""The `input` of a request: items as clients send them, checked and made whole."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, TypeVar

from msgspec import Struct

from gateway import errors
from gateway.body import one_of
from gateway.media import refusals
from gateway.media.shapes import DETAILS
from gateway.responses.items import (
    FunctionCall,
    FunctionCallOutput,
    Ids,
    InputImage,
    InputText,
    Item,
    Message,
    OutputText,
    Reasoning,
    ReasoningText,
    SummaryText,
)
from gateway.responses.sealed import unseal

T = TypeVar("T")


ROLES = ("user", "assistant", "system", "developer")
PARTS = ("input_text", "input_image", "output_text", "refusal", "summary_text", "reasoning_text")
SEEING = ("user",)
"""Whose messages may show pictures; outputs of functions may, too."""
KINDS = ("message", "function_call", "function_call_output", "reasoning", "item_reference")


class InputPart(Struct):
    type: Annotated[str, one_of(PARTS)]
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: Annotated[str, one_of(DETAILS)] | None = None
    file_id: str | None = None


class InputItem(Struct):
    """As a client sends it: the fields of every kind at once."""

    type: Annotated[str, one_of(KINDS)] | None = None
    id: str | None = None
    status: str | None = None
    role: Annotated[str, one_of(ROLES)] | None = None
    content: str | list[InputPart] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[InputPart] | None = None
    summary: list[InputPart] | None = None
    encrypted_content: str | None = None

    @property
    def kind(self) -> str:
        if self.type is not None:
            return self.type
        return "item_reference" if self.role is None and self.id is not None else "message"


MEDIA_PARTS = {"input_file", "input_audio"}


def references(given: str | list[InputItem]) -> dict[str, str]:
    """Response ids by the ids of their items that the input refers to. Raises ApiError for one that can't be ours."""
    found: dict[str, str] = {}
    for at, item in enumerate(given if isinstance(given, list) else []):
        if item.kind == "item_reference":
            response = Ids.response_of(item.id or "")
            if item.id is None or response is None:
                raise _unknown_item(item.id, at)
            found[item.id] = response
    return found


def read_items(given: str | list[InputItem], ids: Ids, stored: Mapping[str, Item]) -> list[Item]:
    """One item for each of the input's. `stored`: those that it may refer to, by id. Raises ApiError."""
    if isinstance(given, str):
        return [Message(id=ids.item("msg"), role="user", content=[InputText(given)])]
    return [_read(item, at, ids, stored) for at, item in enumerate(given)]


def _read(item: InputItem, at: int, ids: Ids, stored: Mapping[str, Item]) -> Item:
    where = f"input[{at}]"
    match item.kind:
        case "message":
            return _message(item, where, ids)
        case "reasoning":
            return Reasoning(
                id=item.id or ids.item("rs"),
                summary=[SummaryText(text) for text in _texts(item.summary or [], f"{where}.summary", "summary_text")],
                content=[ReasoningText(text) for text in _thoughts(item, where)],
            )
        case "function_call":
            return FunctionCall(
                id=item.id or ids.item("fc"),
                call_id=_required(item.call_id, f"{where}.call_id"),
                name=_required(item.name, f"{where}.name"),
                arguments="{}" if item.arguments is None else item.arguments,
            )
        case "function_call_output":
            return FunctionCallOutput(
                id=item.id or ids.item("fco"),
                call_id=_required(item.call_id, f"{where}.call_id"),
                output=_output(item.output, f"{where}.output"),
            )
        case "item_reference":
            if item.id is None or item.id not in stored:
                raise _unknown_item(item.id, at)
            return stored[item.id]
    raise errors.invalid(f"`{where}.type` must be one of {', '.join(KINDS)}.", param=f"{where}.type")


def _message(item: InputItem, where: str, ids: Ids) -> Message:
    role = _required(item.role, f"{where}.role")
    if role not in ROLES:
        raise errors.invalid(
            f"`{where}.role` must be one of {', '.join(ROLES)}; what a function answered is an item of type "
            "`function_call_output`.",
            param=f"{where}.role",
        )
    where += ".content"
    if item.content is None:
        raise _missing(where)
    content = [InputPart("input_text", item.content)] if isinstance(item.content, str) else item.content
    id = item.id or ids.item("msg")
    if role in SEEING:
        return Message(id=id, role=role, content=[*_shown(content, where, "input_text", "output_text", "refusal")])
    part = OutputText if role == "assistant" else InputText
    texts = _texts(content, where, "input_text", "output_text", "refusal")
    return Message(id=id, role=role, content=[part(text) for text in texts])


def _output(output: str | list[InputPart] | None, where: str) -> str | list[InputText | InputImage]:
    if output is None:
        raise _missing(where)
    return output if isinstance(output, str) else list(_shown(output, where, "input_text", "output_text"))


def _shown(parts: Sequence[InputPart], where: str, *kinds: str) -> Iterator[InputText | InputImage]:
    for at, part in enumerate(parts):
        place = f"{where}[{at}]"
        if part.type != "input_image":
            yield InputText(_text(part, place, (*kinds, "input_image")))
            continue
        if part.file_id is not None:
            raise refusals.invalid(f"{place}.file_id", "can't be used: files can't be shown here; send `image_url`")
        yield InputImage(_required(part.image_url, f"{place}.image_url"), part.detail or "auto")


def _thoughts(item: InputItem, where: str) -> list[str]:
    """The content, or what was sealed of it."""
    if isinstance(item.content, str):
        where += ".content"
        raise errors.invalid(f"`{where}` must be a list of parts of type `reasoning_text`.", param=where)
    texts = list(_texts(item.content or [], f"{where}.content", "reasoning_text"))
    if texts or item.encrypted_content is None:
        return texts
    try:
        return [unseal(item.encrypted_content)]
    except ValueError:
        where += ".encrypted_content"
        raise errors.invalid(f"`{where}` is not of this server, or not whole; leave it out.", param=where) from None


def _texts(parts: Sequence[InputPart], where: str, *kinds: str) -> Iterator[str]:
    for at, part in enumerate(parts):
        yield _text(part, f"{where}[{at}]", kinds)


def _text(part: InputPart, where: str, kinds: Sequence[str]) -> str:
    """kinds: of parts that there may be."""
    if part.type in MEDIA_PARTS:
        raise errors.not_supported(where, f"parts of type `{part.type}` can't be read; send text")
    if part.type not in kinds:
        raise errors.invalid(f"`{where}.type` must be {' or '.join(kinds)}.", param=f"{where}.type")
    if part.type == "refusal":
        return _required(part.refusal, f"{where}.refusal")
    return _required(part.text, f"{where}.text")


def _required(value: T | None, where: str) -> T:
    if value is None:
        raise _missing(where)
    return value


def _missing(where: str) -> errors.ApiError:
    return errors.invalid(f"`{where}` is required.", param=where)


def _unknown_item(id: str | None, at: int) -> errors.ApiError:
    return errors.invalid(
        f"`input[{at}].id`: there is no stored item {errors.quote(id or '')}; send the item itself.",
        param=f"input[{at}].id",
    )
