"""`POST /v1/chat/completions`: from OpenAI's chat messages to an `Ask`."""

from typing import Annotated, Any

import msgspec
from django.conf import settings
from msgspec import Meta, Struct

from gateway import errors
from gateway.ask import NOT_YET, VALIDATED_ONLY, Ask, Count, GenerationFields, Neutral, ServiceTier
from gateway.body import Fields, decode, refuse_unsupported, without_effect
from gateway.chat_answers import ChatAnswers
from gateway.context import RequestContext
from gateway.endpoint import GenerationEndpoint, Parsed
from inference.engine import protocol


class Part(Struct):
    type: str
    text: str | None = None
    refusal: str | None = None


class Message(Struct):
    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[Any] | None = None
    function_call: dict[str, Any] | None = None
    audio: dict[str, Any] | None = None


class ChatRequest(GenerationFields, kw_only=True):
    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: Count | None = None
    metadata: Annotated[dict[str, str], Meta(max_length=16)] | None = None
    store: bool | None = None
    service_tier: ServiceTier | None = None
    enable_thinking: bool | None = None


UNSUPPORTED: Neutral = {
    **NOT_YET,
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True,),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "reasoning_effort": (),
    "max_thinking_tokens": (),
    "chat_template_kwargs": ({},),
    "modalities": (["text"],),
    "audio": (),
    "web_search_options": (),
    "video_fps": (),
    "video_max_frames": (),
}
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
"""The roles of the wire, and what chat templates call them."""
LATER_ROLES = {"tool", "function"}
LATER_MESSAGE_FIELDS = ("tool_calls", "function_call", "audio")
MEDIA_PARTS = {"image_url", "input_audio", "audio_url", "video_url", "file", "image", "video"}
PART_FIELDS = set(Part.__struct_fields__)
MESSAGE_FIELDS = set(Message.__struct_fields__)
KNOWN = {*ChatRequest.__struct_fields__, *UNSUPPORTED} - VALIDATED_ONLY

read_request = msgspec.json.Decoder(ChatRequest)
read_messages = msgspec.json.Decoder(list[Fields]).decode
read_object = msgspec.json.Decoder(Fields).decode


class ChatCompletions(GenerationEndpoint):
    def parse(self, body: bytes, context: RequestContext) -> Parsed:
        request, fields = decode(body, read_request)
        refuse_unsupported(fields, UNSUPPORTED)
        if request.store:
            raise errors.not_supported("store", "leave it out or send false")
        if request.enable_thinking:
            raise errors.not_supported("enable_thinking", "leave it out or send false")
        usage_chunk = request.wants_usage_chunk()
        context.ignored = ignored(fields)
        ask = Ask(
            endpoint="chat.completions",
            model=request.model,
            prompt=protocol.Generate(
                id="",
                messages=[template_message(message, at) for at, message in enumerate(request.messages)],
                template={} if request.enable_thinking is None else {"enable_thinking": request.enable_thinking},
                sampling=request.sampling(),
                omitted=request.omitted(),
                max_tokens=max_tokens(request),
                default_max_tokens=settings.DEFAULT_MAX_TOKENS,
                stop=request.stops(),
            ),
            prompt_param="messages",
            stream=bool(request.stream),
        )
        tier = "default" if request.service_tier else None
        return ask, lambda stamp: ChatAnswers(stamp, service_tier=tier, usage_chunk=usage_chunk)


def max_tokens(request: ChatRequest) -> int | None:
    old, new = request.max_tokens, request.max_completion_tokens
    if old is not None and new is not None and old != new:
        raise errors.invalid(
            "`max_tokens` and `max_completion_tokens` contradict each other; send one of them.", param="max_tokens"
        )
    return old if new is None else new


def template_message(message: Message, at: int) -> dict[str, Any]:
    """A message as chat templates expect it. Raises ApiError where it holds what we can't pass on."""
    where = f"messages[{at}]"
    if message.role in LATER_ROLES:
        raise errors.not_supported(f"{where}.role", f"messages of the role `{message.role}` can't be answered")
    if message.role not in ROLES:
        raise errors.invalid(f"`{where}.role` must be one of {', '.join(ROLES)}.", param=f"{where}.role")
    for name in LATER_MESSAGE_FIELDS:
        if getattr(message, name):
            raise errors.not_supported(f"{where}.{name}", "leave it out")
    rendered = {"role": ROLES[message.role], "content": content_of(message, f"{where}.content")}
    if message.name is not None:
        rendered["name"] = message.name
    return rendered


def content_of(message: Message, where: str) -> str:
    match message.content:
        case str() as text:
            return text
        case None if message.role == "assistant" and message.refusal is not None:
            return message.refusal
        case None:
            raise errors.invalid(f"`{where}` must be a string or a list of text parts, not null.", param=where)
        case parts:
            return "".join(text_of(part, f"{where}[{at}]") for at, part in enumerate(parts))


def text_of(part: Part, where: str) -> str:
    if part.type in MEDIA_PARTS:
        raise errors.not_supported(where, f"parts of type `{part.type}` can't be read; send text")
    if part.type not in ("text", "refusal"):
        raise errors.invalid(f"`{where}.type` must be `text`.", param=f"{where}.type")
    text = part.text if part.type == "text" else part.refusal
    if text is None:
        raise errors.invalid(f"`{where}.{part.type}` is required.", param=f"{where}.{part.type}")
    return text


def ignored(fields: Fields) -> list[str]:
    """Every field of the body without effect here, those inside the messages included, each named once."""
    names = without_effect(fields, KNOWN)
    options = fields.get("stream_options")
    if options is not None and bytes(options) != b"null":
        names += without_effect(read_object(options), {"include_usage"}, within="stream_options")
    for message in read_messages(fields["messages"]):
        names += without_effect(message, MESSAGE_FIELDS, within="messages")
    return list(dict.fromkeys(names))
