"""Items: what a response is made from and of, as they are stored and sent; and the messages that they are to a chat
template."""

import re
from collections.abc import Sequence
from itertools import count
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from gateway import errors
from gateway.logprobs import Token
from gateway.media.rules import from_settings
from gateway.media.shapes import of_input_image
from gateway.media.source import Source
from gateway.messages import IMAGE, CalledFunction, ToolCall, template_call

Status = Literal["in_progress", "completed", "incomplete"]


class InputText(Struct, tag="input_text"):
    text: str


class InputImage(Struct, tag="input_image"):
    image_url: str
    detail: str = "auto"
    file_id: None = None


class OutputText(Struct, tag="output_text"):
    text: str
    annotations: list[None] = []
    logprobs: list[Token] = []


class ReasoningText(Struct, tag="reasoning_text"):
    text: str


class SummaryText(Struct, tag="summary_text"):
    text: str


class Message(Struct, tag="message", kw_only=True):
    id: str
    role: str
    status: Status = "completed"
    content: list[InputText | InputImage | OutputText]


class Reasoning(Struct, tag="reasoning", kw_only=True):
    id: str
    summary: list[SummaryText] = []
    content: list[ReasoningText] = []
    encrypted_content: str | UnsetType = UNSET
    """See `sealed`; where it was asked for."""
    status: Status = "completed"


class FunctionCall(Struct, tag="function_call", kw_only=True):
    id: str
    call_id: str
    name: str
    arguments: str
    """JSON, as the model wrote it."""
    status: Status = "completed"


class FunctionCallOutput(Struct, tag="function_call_output", kw_only=True):
    id: str
    call_id: str
    output: str | list[InputText | InputImage]
    status: Status = "completed"


Item = Message | Reasoning | FunctionCall | FunctionCallOutput


class Ids:
    """The ids of one response and of its items, which name the response: an `item_reference` is found by them."""

    ITEM = re.compile(r"(?:msg|rs|fc|fco)_(?P<key>[A-Za-z0-9._-]{1,70})_\d{1,9}")
    RESPONSE = re.compile(r"resp_[A-Za-z0-9._-]{1,70}")

    def __init__(self, record_id: str) -> None:
        self._key = record_id.removeprefix("req_")
        self._numbers = count()
        self.response = f"resp_{self._key}"

    def item(self, prefix: Literal["msg", "rs", "fc", "fco"]) -> str:
        return f"{prefix}_{self._key}_{next(self._numbers)}"

    @classmethod
    def response_of(cls, item_id: str) -> str | None:
        """The id of the response that an item belongs to. None: it has none of our ids."""
        found = cls.ITEM.fullmatch(item_id)
        return f"resp_{found['key']}" if found else None


# --- to the model ----------------------------------------------------------------------------------------------------


def template_messages(
    instructions: str | None, items: Sequence[Item], sources: list[Source], *, before: int = 0
) -> list[dict[str, Any]]:
    """As chat templates expect them; where their pictures come from goes into `sources`, in their order. before: how
    many of the items were there before this request's own input.

    Raises ApiError for the output of a call that nobody made, and for pictures that can't be meant.
    """
    messages: list[dict[str, Any]] = [] if instructions is None else [{"role": "system", "content": instructions}]
    called: dict[str, str] = {}
    """The names of the functions that were called so far, by the call's id."""
    for at, item in enumerate(items):
        where = f"input[{at - before}]" if at >= before else f"previous_response_id.items[{at}]"
        match item:
            case Message(role="assistant"):
                _turn(messages, "content")["content"] = _text(item.content)
            case Message(role="user"):
                messages.append({"role": "user", "content": _shown(item.content, f"{where}.content", sources)})
            case Message():
                _system(messages, _text(item.content))
            case Reasoning():
                # Who has only a summary to send (of another provider's thoughts) sends that.
                turn = _turn(messages, "reasoning_content")
                thought = _text(item.content or item.summary)
                turn["reasoning_content"] = "\n\n".join(filter(None, [turn.get("reasoning_content"), thought]))
            case FunctionCall(call_id=call_id, name=name, arguments=arguments):
                called[call_id] = name
                call = ToolCall(CalledFunction(name, arguments), id=call_id)
                _turn(messages, "tool_calls").setdefault("tool_calls", []).append(template_call(call))
            case FunctionCallOutput(call_id=call_id, output=output):
                if call_id not in called:
                    raise errors.invalid(
                        f"`{where}.call_id`: no function_call before this item has made the call "
                        f"{errors.quote(call_id)}.",
                        param=f"{where}.call_id",
                    )
                shown = output if isinstance(output, str) else _shown(output, f"{where}.output", sources)
                messages.append({"role": "tool", "tool_call_id": call_id, "name": called[call_id], "content": shown})
    return messages


PLACES = ("reasoning_content", "content", "tool_calls")
"""What an assistant's message says, in its order."""


def _turn(messages: list[dict[str, Any]], place: str) -> dict[str, Any]:
    """The assistant's message that an item belongs to: the last one, unless that has got further already."""
    last = messages[-1] if messages else None
    if last is not None and last["role"] == "assistant":
        said = max((at for at, name in enumerate(PLACES) if last.get(name)), default=-1)
        if said < PLACES.index(place) or (said == PLACES.index(place) and place != "content"):
            return last
    messages.append({"role": "assistant", "content": ""})
    return messages[-1]


def _system(messages: list[dict[str, Any]], text: str) -> None:
    """Many templates take one system message, at the beginning."""
    if messages and all(message["role"] == "system" for message in messages):
        messages[-1]["content"] += f"\n\n{text}"
    else:
        messages.append({"role": "system", "content": text})


def _shown(
    parts: Sequence[InputText | InputImage | OutputText], where: str, sources: list[Source]
) -> str | list[dict[str, Any]]:
    """Text, or texts and `IMAGE` where there are pictures."""
    if not any(isinstance(part, InputImage) for part in parts):
        return _text(parts)
    shown: list[dict[str, Any]] = []
    for at, part in enumerate(parts):
        if isinstance(part, InputImage):
            sources.append(of_input_image(part.image_url, part.detail, f"{where}[{at}]", from_settings()))
            shown.append(IMAGE)
        else:
            shown.append({"type": "text", "text": part.text})
    return shown


def _text(parts: Sequence[InputText | InputImage | OutputText | ReasoningText | SummaryText]) -> str:
    return "".join(part.text for part in parts if not isinstance(part, InputImage))


def pictures_bytes(items: Sequence[Item]) -> int:
    """Of the pictures that are in the items themselves, as they are written there."""
    total = 0
    for item in items:
        parts = item.content if isinstance(item, Message) else getattr(item, "output", "")
        total += sum(len(part.image_url) for part in parts if isinstance(part, InputImage))
    return total
