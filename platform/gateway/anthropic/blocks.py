"""Anthropic's messages and their content blocks, checked, and as chat templates expect them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from string import whitespace
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from gateway import errors
from gateway.body import Fields, one_of, without_effect
from gateway.media.rules import from_settings
from gateway.media.shapes import ImageSource, of_image_source
from gateway.media.source import Source
from gateway.messages import IMAGE

T = TypeVar("T")
Role = Literal["user", "assistant", "system"]

PARAGRAPHS = "\n\n"
"""Between the text blocks of a user's turn or of the system prompt."""


READ: dict[str, set[str]] = {
    "text": {"type", "text"},
    "image": {"type", "source"},
    "thinking": {"type", "thinking", "signature"},
    "redacted_thinking": {"type", "data"},
    "tool_use": {"type", "id", "name", "input"},
    "tool_result": {"type", "tool_use_id", "content", "is_error"},
}
"""The types of blocks that can be read, and those of their fields that mean something here. A signature never does:
what we sign is empty."""
READ_SOURCES = {"base64": {"type", "media_type", "data"}, "url": {"type", "url"}}
"""The same of a picture's sources."""


class Block(Struct):
    """Of any type: which fields it needs depends on that."""

    type: Annotated[str, one_of(READ)]
    text: str | None = None
    source: ImageSource | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    content: "str | list[Block] | None" = None
    is_error: bool | None = None


class Message(Struct):
    role: Role
    content: str | list[Block]


PLACES: dict[Role, tuple[str, ...]] = {
    "user": ("text", "image", "tool_result"),
    "assistant": ("text", "thinking", "redacted_thinking", "tool_use"),
    "system": ("text",),
}
"""The types of blocks by who may say them."""

Placed = tuple[str, Block]
"""A block and where it stands, such as `messages[0].content[1]`."""


@dataclass(slots=True)
class Turn:
    """Neighbouring messages of one role: Anthropic takes them for one, and many chat templates refuse two."""

    role: Role
    blocks: list[Placed] = field(default_factory=list)


def turns_of(system: str | list[Block] | None, messages: list[Message]) -> list[Turn]:
    """Raises ApiError where they hold what we can't read."""
    turns: list[Turn] = []
    if system:
        turns.append(Turn("system", _placed(system, "system", "system")))
    for at, message in enumerate(messages):
        where = f"messages[{at}].content"
        if message.role == "user" and not message.content:
            raise errors.invalid(f"`{where}` is empty.", param=where)
        if not turns or turns[-1].role != message.role:
            turns.append(Turn(message.role))
        turns[-1].blocks += _placed(message.content, where, message.role)
    if turns[-1].role == "assistant" and not turns[-1].blocks:
        # Allowed at the end: an answer that is begun with nothing.
        turns.pop()
    if not any(turn.role != "system" for turn in turns):
        raise errors.invalid("`messages`: there is nothing to answer; end with a user's message.", param="messages")
    return turns


def template_messages(turns: list[Turn], sources: list[Source]) -> list[dict[str, Any]]:
    """As chat templates expect them; where their pictures come from goes into `sources`, in their order. Raises
    ApiError."""
    called: dict[str, str] = {}
    """The names of the tools that were called so far, by the call's id."""
    rendered: list[dict[str, Any]] = []
    for turn in turns:
        match turn.role:
            case "assistant":
                rendered.append(_assistants(turn.blocks, called))
            case "user":
                rendered += _users(turn.blocks, called, sources)
            case "system":
                rendered.append({"role": "system", "content": _joined(turn.blocks)})
    return rendered


def prefill(turns: list[Turn]) -> Placed | None:
    """The last text of a conversation that ends with the assistant's words, which the answer is to continue. Raises
    ApiError where they can't be continued."""
    if turns[-1].role != "assistant":
        return None
    where, last = turns[-1].blocks[-1]
    if last.type != "text":
        raise errors.invalid(
            f"`{where}`: the conversation ends with the assistant's turn, and only text can be continued, not "
            f"{last.type}.",
            param=where,
        )
    if (last.text or "").endswith(tuple(whitespace)):
        raise errors.invalid(f"`{where}`: an answer that is to be continued can't end with white space.", param=where)
    return where, last


def _placed(content: str | list[Block], where: str, role: Role) -> list[Placed]:
    if isinstance(content, str):
        return [(where, Block("text", content))] if content else []
    placed = [(f"{where}[{at}]", block) for at, block in enumerate(content)]
    for place, block in placed:
        _check(block.type, place, PLACES[role], role)
    return placed


def _check(type: str, where: str, allowed: tuple[str, ...], who: str) -> None:
    if type not in READ:
        raise errors.not_supported(where, f"blocks of type {errors.quote(type)} can't be read; send text or images")
    if type not in allowed:
        raise errors.invalid(
            f"`{where}.type`: {who} content can't be {errors.quote(type)}, only {', '.join(allowed)}.",
            param=f"{where}.type",
        )


def _assistants(blocks: list[Placed], called: dict[str, str]) -> dict[str, Any]:
    texts, thoughts, calls = [], [], []
    for where, block in blocks:
        match block.type:
            case "text":
                texts.append(_needed(block.text, where, "text"))
            case "thinking":
                thoughts.append(_needed(block.thinking, where, "thinking"))
            case "tool_use":
                id, name = _needed(block.id, where, "id"), _needed(block.name, where, "name")
                called[id] = name
                function = {"name": name, "arguments": _needed(block.input, where, "input")}
                calls.append({"id": id, "type": "function", "function": function})
    # In one answer nothing stands between two texts but what the model left there.
    rendered: dict[str, Any] = {"role": "assistant", "content": "".join(texts)}
    if calls:
        rendered["tool_calls"] = calls
    if thought := "\n".join(filter(None, thoughts)):
        rendered["reasoning_content"] = thought
    return rendered


def _users(blocks: list[Placed], called: dict[str, str], sources: list[Source]) -> Iterator[dict[str, Any]]:
    """Results of tools are messages of their own in a template."""
    shown: list[Placed] = []
    for where, block in blocks:
        if block.type != "tool_result":
            shown.append((where, block))
            continue
        if shown:
            yield {"role": "user", "content": _shown(shown, sources)}
            shown = []
        yield _result(block, where, called, sources)
    if shown:
        yield {"role": "user", "content": _shown(shown, sources)}


def _result(block: Block, where: str, called: dict[str, str], sources: list[Source]) -> dict[str, Any]:
    answered = _needed(block.tool_use_id, where, "tool_use_id")
    if answered not in called:
        raise errors.invalid(
            f"`{where}.tool_use_id`: no assistant message before this one has made the call {errors.quote(answered)}.",
            param=f"{where}.tool_use_id",
        )
    given = block.content or ""
    # Templates have no other way to say that a tool failed.
    failed = "Error: " if block.is_error else ""
    said: str | list[dict[str, Any]]
    if isinstance(given, str):
        said = failed + given
    else:
        placed = [(f"{where}.content[{at}]", inner) for at, inner in enumerate(given)]
        for place, inner in placed:
            _check(inner.type, place, ("text", "image"), "tool_result")
        said = _shown(placed, sources, before=failed)
    return {"role": "tool", "tool_call_id": answered, "name": called[answered], "content": said}


def _shown(blocks: list[Placed], sources: list[Source], *, before: str = "") -> str | list[dict[str, Any]]:
    """Text, or texts and `IMAGE` where there are pictures. before: the text that it begins with."""
    if not any(block.type == "image" for _, block in blocks):
        return before + _joined(blocks)
    parts: list[dict[str, Any]] = [{"type": "text", "text": before}] if before else []
    for type, neighbours in groupby(blocks, key=lambda placed: placed[1].type):
        if type == "text":
            parts.append({"type": "text", "text": _joined(list(neighbours))})
            continue
        for where, block in neighbours:
            source = _needed(block.source, where, "source")
            sources.append(of_image_source(source, f"{where}.source", from_settings()))
            parts.append(IMAGE)
    return parts


def _joined(blocks: list[Placed]) -> str:
    return PARAGRAPHS.join(_needed(block.text, where, "text") for where, block in blocks)


def _needed(value: T | None, where: str, name: str) -> T:
    if value is None:
        raise errors.invalid(f"`{where}.{name}` is required.", param=f"{where}.{name}")
    return value


# --- what has no effect ----------------------------------------------------------------------------------------------

read_object = msgspec.json.Decoder(Fields).decode
read_objects = msgspec.json.Decoder(list[Fields]).decode
read_text = msgspec.json.Decoder(str).decode


def ignored_in_messages(messages: msgspec.Raw) -> list[str]:
    """The fields of messages and of their blocks that nothing here looks at."""
    names: list[str] = []
    for message in read_objects(messages):
        names += without_effect(message, {"role", "content"}, within="messages")
        names += ignored_in_blocks(message["content"], "messages.content")
    return names


def ignored_in_blocks(content: msgspec.Raw, within: str) -> list[str]:
    """The same for a list of blocks; a string or null has no fields. Thoughts that only Anthropic can read are named
    as well, for they are dropped."""
    if not bytes(content).lstrip().startswith(b"["):
        return []
    names: list[str] = []
    for block in read_objects(content):
        type = read_text(block["type"])
        names += without_effect(block, READ[type], within)
        if type == "redacted_thinking":
            names.append(f"{within}.redacted_thinking")
        if type == "image":
            source = read_object(block["source"])
            names += without_effect(source, READ_SOURCES[read_text(source["type"])], f"{within}.source")
        if type == "tool_result" and "content" in block:
            names += ignored_in_blocks(block["content"], f"{within}.content")
    return names
