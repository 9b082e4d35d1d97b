"""Items: what a response is made from and of, as they are stored and sent; and the messages that they are to a chat
template."""

import re
from collections.abc import Sequence
from itertools import count
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from gateway import errors
from gateway.logprobs import Token
from gateway.messages import CalledFunction, ToolCall, template_call

Status = Literal["in_progress", "completed", "incomplete"]


class InputText(Struct, tag="input_text"):
    text: str


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
    content: list[InputText | OutputText]


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
    output: str | list[InputText]
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


def template_messages(instructions: str | None, items: Sequence[Item], *, before: int = 0) -> list[dict[str, Any]]:
    """As chat templates expect them. before: how many of the items were there before this request's own input.

    Raises ApiError for the output of a call that nobody made.
    """
    messages: list[dict[str, Any]] = [] if instructions is None else [{"role": "system", "content": instructions}]
    called: dict[str, str] = {}
    """The names of the functions that were called so far, by the call's id."""
    for at, item in enumerate(items):
        match item:
            case Message(role="assistant"):
                _turn(messages, "content")["content"] = _text(item.content)
            case Message(role="user"):
                messages.append({"role": "user", "content": _text(item.content)})
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
                    where = f"input[{at - before}].call_id"
                    raise errors.invalid(
                        f"`{where}`: no function_call before this item has made the call {errors.quote(call_id)}.",
                        param=where,
                    )
                text = output if isinstance(output, str) else _text(output)
                messages.append({"role": "tool", "tool_call_id": call_id, "name": called[call_id], "content": text})
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


def _text(parts: Sequence[InputText | OutputText | ReasoningText | SummaryText]) -> str:
    return "".join(part.text for part in parts)
