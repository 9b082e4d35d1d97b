"""OpenAI's chat messages, checked, and as chat templates expect them."""

import json
from typing import Annotated, Any

from msgspec import Meta, Struct

from gateway import errors
from gateway.body import one_of
from gateway.media.rules import Kind, from_settings
from gateway.media.shapes import ImageUrl, InputAudio, MediaUrl, of_image_url, of_input_audio, of_media_url
from gateway.media.source import Source

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
"""The roles of the wire, and what chat templates call them."""


FramesPerSecond = Annotated[float, Meta(gt=0, le=240)]
MostFrames = Annotated[int, Meta(ge=1, le=768)]
"""As many as an engine's decoder hands out of one video."""


class Part(Struct):
    type: Annotated[str, one_of(("text", "refusal", "image_url", "video_url", "video", "input_audio", "audio_url"))]
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | str | None = None
    video_url: MediaUrl | str | None = None
    video: MediaUrl | str | None = None
    input_audio: InputAudio | None = None
    audio_url: MediaUrl | str | None = None
    fps: FramesPerSecond | None = None
    """Of a video, as is `max_frames`; before what the request says for all of its videos."""
    max_frames: MostFrames | None = None


class CalledFunction(Struct):
    name: str
    arguments: str = "{}"


class ToolCall(Struct):
    function: CalledFunction
    id: str = ""
    type: Annotated[str, one_of(("function",))] = "function"


class Message(Struct):
    role: Annotated[str, one_of(ROLES)]
    content: str | list[Part] | None = None
    name: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    function_call: CalledFunction | None = None
    audio: dict[str, Any] | None = None


UNREAD_PARTS = {"file", "image"}
"""Parts that can't be read yet."""
MEDIA_PARTS = {"image_url", "video_url", "video", "input_audio", "audio_url"}
IMAGE = {"type": "image"}
"""What stands in a template's messages for the next of their pictures."""
SEEING = ("user", "tool")
"""Who may show pictures and videos."""


def template_messages(messages: list[Message], sources: list[Source]) -> list[dict[str, Any]]:
    """As chat templates expect them; where their pictures and videos come from goes into `sources`, in their order.
    Raises ApiError where they hold what we can't pass on."""
    called: dict[str, str] = {}
    """The names of the functions that were called so far, by the call's id; a legacy call's is its name."""
    return [_template_message(message, f"messages[{at}]", called, sources) for at, message in enumerate(messages)]


def _template_message(message: Message, where: str, called: dict[str, str], sources: list[Source]) -> dict[str, Any]:
    if message.role not in ROLES:
        raise errors.invalid(f"`{where}.role` must be one of {', '.join(ROLES)}.", param=f"{where}.role")
    if message.audio:
        raise errors.not_supported(f"{where}.audio", "leave it out")
    rendered: dict[str, Any] = {"role": ROLES[message.role]}
    if message.name is not None:
        rendered["name"] = message.name
    calls = _calls(message, where)
    if message.role == "assistant":
        for call in calls:
            called[call.id or call.function.name] = call.function.name
        if calls:
            rendered["tool_calls"] = [template_call(call) for call in calls]
        reasoning = message.reasoning_content or message.reasoning
        if reasoning:
            rendered["reasoning_content"] = reasoning
    elif rendered["role"] == "tool":
        rendered |= _answered(message, where, called)
    rendered["content"] = _content_of(message, f"{where}.content", sources)
    return rendered


def _calls(message: Message, where: str) -> list[ToolCall]:
    """Those of an assistant's message, legacy ones included."""
    calls = list(message.tool_calls or [])
    if message.function_call is not None:
        calls.append(ToolCall(message.function_call))
    if calls and message.role != "assistant":
        raise errors.invalid(f"`{where}.tool_calls`: only the assistant calls tools.", param=f"{where}.tool_calls")
    for at, call in enumerate(calls):
        if call.type != "function":
            place = f"{where}.tool_calls[{at}].type"
            raise errors.invalid(f"`{place}` must be `function`.", param=place)
    return calls


def template_call(call: ToolCall) -> dict[str, Any]:
    """Arguments as an object where they are one: most templates write JSON of them themselves."""
    try:
        arguments = json.loads(call.function.arguments or "{}")
    except ValueError:
        arguments = None
    function = {
        "name": call.function.name,
        "arguments": arguments if isinstance(arguments, dict) else call.function.arguments,
    }
    return {"id": call.id, "type": "function", "function": function}


def _answered(message: Message, where: str, called: dict[str, str]) -> dict[str, Any]:
    """Which call a tool's message answers. Raises ApiError for one that nobody made."""
    field = "tool_call_id" if message.role == "tool" else "name"
    answered = getattr(message, field)
    if not answered:
        raise errors.invalid(f"`{where}.{field}` is required: it names the call.", param=f"{where}.{field}")
    if answered not in called:
        raise errors.invalid(
            f"`{where}.{field}`: no assistant message before this one has made the call {errors.quote(answered)}.",
            param=f"{where}.{field}",
        )
    return {"tool_call_id": answered, "name": called[answered]}


def _content_of(message: Message, where: str, sources: list[Source]) -> str | list[dict[str, Any]]:
    """Text, or parts where there are pictures or videos: what stands for the next of these has its `type` alone, and
    what is wished of a video."""
    match message.content:
        case str() as text:
            return text
        case None if message.role == "assistant" and message.refusal is not None:
            return message.refusal
        case None if message.role == "assistant" and (message.tool_calls or message.function_call):
            return ""
        case None:
            raise errors.invalid(f"`{where}` must be a string or a list of text parts, not null.", param=where)
        case parts if any(part.type in MEDIA_PARTS for part in parts):
            return [_part_of(part, message.role, f"{where}[{at}]", sources) for at, part in enumerate(parts)]
        case parts:
            return "".join(_text_of(part, f"{where}[{at}]") for at, part in enumerate(parts))


def _part_of(part: Part, role: str, where: str, sources: list[Source]) -> dict[str, Any]:
    if part.type not in MEDIA_PARTS:
        return {"type": "text", "text": _text_of(part, where)}
    if role not in SEEING:
        raise errors.invalid(
            f"`{where}`: only users and tools show pictures and videos and play sounds, not the {role}.", param=where
        )
    field = f"{where}.{part.type}"
    given = getattr(part, part.type)
    if given is None:
        raise errors.invalid(f"`{field}` is required.", param=field)
    rules = from_settings()
    match part.type:
        case "image_url":
            sources.append(of_image_url(given, field, rules))
            return IMAGE
        case "input_audio":
            sources.append(of_input_audio(given, field, rules))
            return {"type": "audio"}
        case "audio_url":
            sources.append(of_media_url(given, Kind.AUDIO, field, rules))
            return {"type": "audio"}
        case _:
            sources.append(of_media_url(given, Kind.VIDEO, field, rules))
            wishes = {"fps": part.fps, "max_frames": part.max_frames}
            return {"type": "video", **{name: wish for name, wish in wishes.items() if wish is not None}}


def _text_of(part: Part, where: str) -> str:
    if part.type in UNREAD_PARTS:
        raise errors.not_supported(where, f"parts of type `{part.type}` can't be read; send text")
    if part.type not in ("text", "refusal"):
        raise errors.invalid(f"`{where}.type` must be `text`.", param=f"{where}.type")
    text = part.text if part.type == "text" else part.refusal
    if text is None:
        raise errors.invalid(f"`{where}.{part.type}` is required.", param=f"{where}.{part.type}")
    return text
