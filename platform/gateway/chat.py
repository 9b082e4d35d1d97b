"""`POST /v1/chat/completions`: from OpenAI's chat to an `Ask`."""

from typing import Annotated, Any, Literal

import msgspec
from django.conf import settings
from msgspec import Meta

from gateway import errors
from gateway.ask import VALIDATED_ONLY, Ask, Count, GenerationFields, Neutral
from gateway.body import Fields, decode, refuse_unsupported, without_effect, without_effect_inside
from gateway.chat_answers import ChatAnswers
from gateway.context import RequestContext
from gateway.endpoint import GenerationEndpoint, Parsed
from gateway.formats import ResponseFormat, format_of
from gateway.media.source import Source
from gateway.messages import FramesPerSecond, Message, MostFrames, template_messages
from gateway.tiers import ServiceTier, chosen
from gateway.tools import ChoiceName, Functions, NamedChoice, Tools, tool_use
from inference.engine import protocol
from inference.sampling import LARGEST

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


class ChatRequest(GenerationFields, kw_only=True):
    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: Count | None = None
    metadata: Annotated[dict[str, str], Meta(max_length=16)] | None = None
    store: bool | None = None
    service_tier: ServiceTier | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Tools | None = None
    tool_choice: ChoiceName | NamedChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: Functions | None = None
    function_call: ChoiceName | NamedChoice | None = None
    reasoning_effort: Effort | None = None
    enable_thinking: bool | None = None
    max_thinking_tokens: Annotated[int, Meta(ge=0, le=LARGEST)] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    video_fps: FramesPerSecond | None = None
    video_max_frames: MostFrames | None = None


UNSUPPORTED: Neutral = {
    "modalities": (["text"],),
    "audio": (),
    "web_search_options": (),
    "moderation": (),
}
KNOWN = {*ChatRequest.__struct_fields__, *UNSUPPORTED} - VALIDATED_ONLY
RESERVED = {"tools", "messages", "conversation", "tokenize", "add_generation_prompt", "chat_template", "return_dict"}
"""Arguments of a template that are not the client's to set."""

read_request = msgspec.json.Decoder(ChatRequest)


class ChatCompletions(GenerationEndpoint):
    def parse(self, body: bytes, context: RequestContext) -> Parsed:
        request, fields = decode(body, read_request)
        refuse_unsupported(fields, UNSUPPORTED)
        if request.store:
            raise errors.not_supported("store", "leave it out or send false")
        usage_chunk = request.wants_usage_chunk()
        use = tool_use(request.tools, request.tool_choice, request.functions, request.function_call)
        context.ignored = ignored(fields)
        sources: list[Source] = []
        ask = Ask(
            endpoint="chat.completions",
            model=request.model,
            prompt=protocol.Generate(
                id="",
                messages=template_messages(request.messages, sources),
                video_fps=request.video_fps,
                video_max_frames=request.video_max_frames,
                n=request.n or 1,
                template=template_options(
                    effort=request.reasoning_effort,
                    enable_thinking=request.enable_thinking,
                    more=request.chat_template_kwargs,
                ),
                tools=use.tools,
                tool_choice=use.choice,
                tool_name=use.name,
                parallel_tool_calls=request.parallel_tool_calls is not False and not use.legacy,
                format=format_of(request.response_format),
                max_thinking_tokens=request.max_thinking_tokens,
                sampling=request.sampling(logprobs=wanted_logprobs(request)),
                omitted=request.omitted(),
                max_tokens=max_tokens(request),
                default_max_tokens=settings.DEFAULT_MAX_TOKENS,
                stop=request.stops(),
            ),
            prompt_param="messages",
            stream=bool(request.stream),
            diagnostics=request.diagnostics(),
            tier=chosen(request.service_tier),
            sources=sources,
        )
        return ask, lambda stamp: ChatAnswers(
            stamp,
            choices=ask.choices,
            tells_tier=request.service_tier is not None,
            usage_chunk=usage_chunk,
            logprobs=bool(request.logprobs),
            legacy_calls=use.legacy,
        )


def max_tokens(request: ChatRequest) -> int | None:
    old, new = request.max_tokens, request.max_completion_tokens
    if old is not None and new is not None and old != new:
        raise errors.invalid(
            "`max_tokens` and `max_completion_tokens` contradict each other; send one of them.", param="max_tokens"
        )
    return old if new is None else new


def wanted_logprobs(request: ChatRequest) -> int | None:
    """How many of the likeliest tokens are wanted beside each; None: not even its own probability."""
    if request.top_logprobs and not request.logprobs:
        raise errors.invalid("`top_logprobs` needs `logprobs: true`.", param="top_logprobs")
    return (request.top_logprobs or 0) if request.logprobs else None


def template_options(
    *, effort: Effort | None, enable_thinking: bool | None, more: dict[str, Any] | None
) -> dict[str, Any]:
    """What the chat template is told beside the messages. The more particular wins: `chat_template_kwargs` (`more`),
    then `enable_thinking`, then the effort. Raises ApiError."""
    options = thinking_options(effort)
    if enable_thinking is not None:
        options["enable_thinking"] = enable_thinking
    more = more or {}
    if taken := next((name for name in more if name in RESERVED), None):
        raise errors.invalid(
            f"`chat_template_kwargs.{taken}` can't be set; the request's own fields say it.",
            param=f"chat_template_kwargs.{taken}",
        )
    return {**options, **more}


def thinking_options(effort: str | None) -> dict[str, Any]:
    if effort is None:
        return {}
    return {"enable_thinking": effort != "none", **({} if effort == "none" else {"reasoning_effort": effort})}


def ignored(fields: Fields) -> list[str]:
    """Every field of the body without effect here, those inside others included, each named once."""
    return list(dict.fromkeys([*without_effect(fields, KNOWN), *without_effect_inside(fields, ChatRequest)]))
