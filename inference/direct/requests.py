"""From a call's arguments to what an engine is sent. Each argument is of its type and in its range, as over HTTP."""

import re
from typing import Annotated, Any, Literal, TypedDict, TypeVar, get_args

import msgspec
from msgspec import Meta

from inference.direct.conversation import Conversation, conversation
from inference.direct.errors import invalid
from inference.engine import protocol
from inference.sampling import LARGEST, MOST_BIASES, Bias, SamplingFields

Count = Annotated[int, Meta(ge=1, le=LARGEST)]
ToolChoice = Literal["none", "auto", "required"]
KINDS = ("text", "json_object", "json_schema", "regex", "grammar")
RESERVED = {"tools", "messages", "conversation", "tokenize", "add_generation_prompt", "chat_template", "return_dict"}
"""Arguments of a template that calls have their own words for."""
PATH = re.compile(r" - at (`key` in )?`\$\.?(?P<path>[^`]*)`$")


class Sampling(TypedDict, total=False):
    """How an answer is drawn, and how long it may get. None is the default: the model's own, where it has one."""

    max_tokens: int | None
    """By default what the context leaves, at most 32,768."""
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    repetition_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    xtc_probability: float | None
    xtc_threshold: float | None
    logit_bias: dict[int, float] | None
    seed: int | None
    stop: str | list[str] | None


class Chat(Sampling, total=False):
    """Of a conversation."""

    tools: list[dict[str, Any]] | None
    tool_choice: ToolChoice | dict[str, Any] | None
    """Or the only tool that may be called, as OpenAI names it."""
    parallel_tool_calls: bool | None
    response_format: dict[str, Any] | None
    """As over HTTP: `json_object`, `json_schema`, `regex` or `grammar`."""
    enable_thinking: bool | None
    max_thinking_tokens: int | None
    chat_template_kwargs: dict[str, Any] | None


class Clips(Chat, total=False):
    """Of a conversation that shows something."""

    video_fps: float | None
    """Frames of each second; by default as many as the model's processor wants."""
    video_max_frames: int | None


class _Fields(SamplingFields, kw_only=True, forbid_unknown_fields=True):
    max_tokens: Count | None = None
    logit_bias: Annotated[dict[Annotated[int, Meta(ge=0, le=LARGEST)], Bias], Meta(max_length=MOST_BIASES)] | None = (
        None
    )


class _ChatFields(_Fields, kw_only=True, forbid_unknown_fields=True):
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    enable_thinking: bool | None = None
    max_thinking_tokens: Annotated[int, Meta(ge=0, le=LARGEST)] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    video_fps: Annotated[float, Meta(gt=0, le=1000)] | None = None
    video_max_frames: Annotated[int, Meta(ge=1, le=768)] | None = None


T = TypeVar("T", bound=_Fields)


def plain(prompt: object, given: Sampling) -> protocol.Generate:
    """Of a text, or of token ids, to be continued. Raises RequestError."""
    fields = _read(given, _Fields)
    if not isinstance(prompt, str) and not (
        isinstance(prompt, list | tuple) and all(type(token) is int and 0 <= token <= LARGEST for token in prompt)
    ):
        raise invalid("prompt", "must be a string or a list of token ids.")
    return _generate(fields, prompts=[prompt if isinstance(prompt, str) else list(prompt)])


def chat(messages: object, given: Clips) -> protocol.Generate:
    """Of a conversation. Raises RequestError."""
    fields = _read(given, _ChatFields)
    return _chat(fields, conversation(messages, fps=fields.video_fps, max_frames=fields.video_max_frames))


def shown(prompt: object, images: object, videos: object, given: Clips) -> protocol.Generate:
    """Of one turn: pictures, clips, and what is asked about them. Raises RequestError."""
    fields = _read(given, _ChatFields)
    if not isinstance(prompt, str):
        raise invalid("prompt", f"must be a string, not {type(prompt).__name__}.")
    made = Conversation(fields.video_fps, fields.video_max_frames)
    parts = [made.show(each, f"images[{at}]") for at, each in enumerate(_listed(images, "images"))]
    for at, each in enumerate(_listed(videos, "videos")):
        parts.append(made.play(each, f"videos[{at}]"))
    made.messages.append({"role": "user", "content": [*parts, {"type": "text", "text": prompt}] if parts else prompt})
    return _chat(fields, made)


def _read(given: Any, fields: type[T]) -> T:
    try:
        return msgspec.convert(dict(given), fields)
    except msgspec.ValidationError as error:
        text = str(error)
        if unknown := re.search(r"unknown field `(\w+)`", text):
            raise TypeError(f"there is no argument {unknown[1]!r}") from None
        found = PATH.search(text)
        argument = found["path"].replace("[...]", "") if found else None
        reason = text[: found.start()] if found else text
        raise invalid(argument or "arguments", f"{reason[:1].lower()}{reason[1:]}.") from None


def _generate(fields: _Fields, **more: Any) -> protocol.Generate:
    stops = [fields.stop] if isinstance(fields.stop, str) else fields.stop or []
    if "" in stops:
        raise invalid("stop", "an empty string would stop at once; leave it out.")
    return protocol.Generate(
        id="",
        sampling=fields.drawn(logit_bias=fields.logit_bias),
        omitted=fields.omitted(),
        max_tokens=fields.max_tokens,
        stop=stops,
        **more,
    )


def _chat(fields: _ChatFields, made: Conversation) -> protocol.Generate:
    tools = [_tool(tool, f"tools[{at}]") for at, tool in enumerate(fields.tools or [])]
    choice, name = _choice(fields.tool_choice, [tool["function"]["name"] for tool in tools])
    template = {} if fields.enable_thinking is None else {"enable_thinking": fields.enable_thinking}
    more = fields.chat_template_kwargs or {}
    if taken := next((each for each in more if each in RESERVED), None):
        raise invalid(f"chat_template_kwargs.{taken}", "can't be set; the call's own arguments say it.")
    return _generate(
        fields,
        messages=made.messages,
        media=made.media,
        tools=tools,
        tool_choice=choice,
        tool_name=name,
        parallel_tool_calls=fields.parallel_tool_calls is not False,
        format=_format(fields.response_format),
        max_thinking_tokens=fields.max_thinking_tokens,
        template={**template, **more},
    )


def _tool(tool: dict[str, Any], where: str) -> dict[str, Any]:
    function = tool.get("function")
    if tool.get("type", "function") != "function" or not isinstance(function, dict):
        raise invalid(where, 'must be {"type": "function", "function": {…}}.')
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise invalid(f"{where}.function.name", "must be a string.")
    if not isinstance(function.get("parameters", {}), dict):
        raise invalid(f"{where}.function.parameters", "must be a JSON Schema.")
    return {"type": "function", "function": function}


def _choice(choice: str | dict[str, Any] | None, names: list[str]) -> tuple[ToolChoice, str | None]:
    match choice:
        case None:
            return "auto", None
        case "required" if not names:
            raise invalid("tool_choice", "requires a call, but there are no `tools`.")
        case "none" | "auto" | "required":
            return choice, None
        case {"function": {"name": str(name)}}:
            if name not in names:
                raise invalid("tool_choice", f"names {name!r}, which is not among `tools`.")
            return "required", name
    words = ", ".join(get_args(ToolChoice))
    raise invalid("tool_choice", f'must be {words}, or {{"type": "function", "function": {{"name": …}}}}.')


def _format(wanted: dict[str, Any] | None) -> protocol.Format | None:
    if wanted is None:
        return None
    match wanted:
        case {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return protocol.Format("json_object")
        case {"type": "json_schema", "json_schema": {"schema": dict() | bool() as schema}}:
            try:
                return protocol.Format("json_schema", msgspec.json.encode(schema).decode())
            except (TypeError, ValueError, RecursionError):
                raise invalid("response_format.json_schema.schema", "is no JSON.") from None
        case {"type": "json_schema"}:
            raise invalid("response_format.json_schema.schema", "is required.")
        case {"type": "regex" | "grammar" as kind}:
            if not isinstance(text := wanted.get(kind), str) or not text:
                raise invalid(f"response_format.{kind}", "is required.")
            return protocol.Format(kind, text)
    raise invalid("response_format.type", f"must be one of {', '.join(KINDS)}.")


def _listed(given: object, where: str) -> list[Any]:
    if given is None:
        return []
    if not isinstance(given, list | tuple):
        raise invalid(where, f"must be a list, not {type(given).__name__}.")
    return list(given)
