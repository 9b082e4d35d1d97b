"""Messages as OpenAI writes them, to what chat templates expect, with the files that they show."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inference.direct.errors import invalid
from inference.direct.pictures import data_url, file_bytes, picture_bytes
from inference.engine.protocol import Media

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
"""The roles, and what chat templates call them."""
SEEING = ("user", "tool")
"""Who may show pictures."""
PARTS = ("text", "image", "image_url", "video", "video_url")


@dataclass
class Conversation:
    """messages: for the engine; media: what their parts that are no text stand for, in their order. fps, max_frames:
    which frames of clips are looked at; None: as the model's processor wants it."""

    fps: float | None = None
    max_frames: int | None = None
    messages: list[dict[str, Any]] = field(default_factory=list)
    media: list[Media] = field(default_factory=list)

    def add(self, given: object, where: str) -> None:
        """One message more. Raises RequestError."""
        message = _mapping(given, where)
        role = message.get("role")
        if not isinstance(role, str) or role not in ROLES:
            raise invalid(f"{where}.role", f"must be one of {', '.join(ROLES)}, not {role!r}.")
        template: dict[str, Any] = {"role": ROLES[role]}
        if calls := message.get("tool_calls"):
            if role != "assistant":
                raise invalid(f"{where}.tool_calls", "only the assistant calls tools.")
            several = _several(calls, f"{where}.tool_calls")
            template["tool_calls"] = [_call(call, f"{where}.tool_calls[{at}]") for at, call in enumerate(several)]
        if role == "assistant" and isinstance(reasoning := message.get("reasoning_content"), str):
            template["reasoning_content"] = reasoning
        if role == "tool":
            template |= self._answered(message, where)
        template["content"] = self._content(message.get("content"), role, f"{where}.content", bare=bool(calls))
        self.messages.append(template)

    def show(self, picture: object, where: str) -> dict[str, Any]:
        """A picture more; its part of a message. Raises RequestError."""
        self.media.append(Media(picture_bytes(picture, where), where))
        return {"type": "image"}

    def play(self, video: object, where: str) -> dict[str, Any]:
        """A clip more; its part of a message. Raises RequestError."""
        self.media.append(Media(file_bytes(video, where), where))
        wanted = {"fps": self.fps, "max_frames": self.max_frames}
        return {"type": "video", **{name: value for name, value in wanted.items() if value is not None}}

    def _answered(self, message: Mapping[str, Any], where: str) -> dict[str, Any]:
        id = message.get("tool_call_id")
        for earlier in self.messages:
            for call in earlier.get("tool_calls", ()):
                if call["id"] == id:
                    return {"tool_call_id": id, "name": call["function"]["name"]}
        raise invalid(f"{where}.tool_call_id", f"no message before this one has made the call {id!r}.")

    def _content(self, content: object, role: str, where: str, *, bare: bool) -> str | list[dict[str, Any]]:
        match content:
            case str():
                return content
            case None if bare:
                return ""
            case list() | tuple():
                parts = [self._part(each, role, f"{where}[{at}]") for at, each in enumerate(content)]
                texts = [part["text"] for part in parts if part["type"] == "text"]
                return "".join(texts) if len(texts) == len(parts) else parts
        raise invalid(where, f"must be a string or a list of parts, not {type(content).__name__}.")

    def _part(self, given: object, role: str, where: str) -> dict[str, Any]:
        part = _mapping(given, where)
        kind = part.get("type")
        if kind not in PARTS:
            raise invalid(f"{where}.type", f"must be one of {', '.join(PARTS)}, not {kind!r}.")
        content = part.get(kind)
        if kind == "text":
            if not isinstance(content, str):
                raise invalid(f"{where}.text", "must be a string.")
            return {"type": "text", "text": content}
        if role not in SEEING:
            raise invalid(where, f"only users and tools show pictures, not the {role}.")
        match kind:
            case "image":
                return self.show(content, f"{where}.image")
            case "image_url":
                return self.show(_inside(content, f"{where}.image_url"), f"{where}.image_url")
            case "video":
                return self.play(content, f"{where}.video")
        return self.play(_inside(content, f"{where}.video_url"), f"{where}.video_url")


def conversation(messages: object, *, fps: float | None, max_frames: int | None) -> Conversation:
    """Raises RequestError."""
    made = Conversation(fps, max_frames)
    several = _several(messages, "messages")
    if not several:
        raise invalid("messages", "must have at least one message.")
    for at, message in enumerate(several):
        made.add(message, f"messages[{at}]")
    return made


def _inside(given: object, where: str) -> bytes:
    """Of a data URL, or an object with one. What stands in a URL's place may have come from anybody: it names no file
    of this machine. For these there are `image` and `video`."""
    url = given.get("url") if isinstance(given, Mapping) else given
    if not isinstance(url, str) or url[:5].lower() != "data:":
        raise invalid(where, "must be a data URL. For a file or its bytes, send a part of type `image` or `video`.")
    return data_url(url, where)


def _call(given: object, where: str) -> dict[str, Any]:
    """Arguments as an object where they are one: most templates write JSON of them themselves."""
    call = _mapping(given, where)
    function = _mapping(call.get("function"), f"{where}.function")
    name, arguments = function.get("name"), function.get("arguments", "{}")
    if not isinstance(name, str):
        raise invalid(f"{where}.function.name", "must be a string.")
    if isinstance(arguments, str):
        try:
            read = json.loads(arguments or "{}")
        except ValueError:
            read = None
        arguments = read if isinstance(read, dict) else arguments
    elif not isinstance(arguments, Mapping):
        raise invalid(f"{where}.function.arguments", "must be a string of JSON or a dictionary.")
    return {"id": str(call.get("id", "")), "type": "function", "function": {"name": name, "arguments": arguments}}


def _mapping(given: object, where: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise invalid(where, f"must be a dictionary, not {type(given).__name__}.")
    return given


def _several(given: object, where: str) -> Sequence[object]:
    if not isinstance(given, list | tuple):
        raise invalid(where, f"must be a list, not {type(given).__name__}.")
    return given
