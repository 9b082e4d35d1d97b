"""The fields of `POST /v1/responses`, checked, and the `Ask` that they make."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from django.conf import settings
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway import errors
from gateway.ask import Ask, Count, GenerationFields, Neutral
from gateway.body import Fields, decode, one_of, refuse_unsupported, without_effect, without_effect_inside
from gateway.chat import Effort, template_options
from gateway.formats import KINDS, ResponseFormat, format_of, schema_format
from gateway.media import refusals
from gateway.media.source import Source
from gateway.responses.given import InputItem
from gateway.responses.items import Item, pictures_bytes, template_messages
from gateway.tiers import ServiceTier, chosen
from gateway.tools import MOST_TOOLS, ChoiceName, Function, Name, NamedChoice, NamedFunction, Tool, ToolUse, tool_use
from inference.engine import protocol
from inference.sampling import LARGEST

LOGPROBS = "message.output_text.logprobs"
SEALED = "reasoning.encrypted_content"
PICTURES = "message.input_image.image_url"
"""Input items have it in any case."""
INCLUDABLE = (LOGPROBS, SEALED, PICTURES)
"""What alone may be included."""


class FunctionTool(Struct):
    type: Annotated[str, one_of(("function",))]
    name: Name | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedTool(Struct):
    type: Annotated[str, one_of(("function",))]
    name: str | None = None


class TextFormat(Struct, omit_defaults=True):
    type: Annotated[str, one_of(KINDS)]
    name: str | UnsetType = UNSET
    schema: dict[str, Any] | UnsetType = UNSET
    strict: bool | None = None
    description: str | None = None
    regex: str | None = None
    grammar: str | None = None


class TextConfig(Struct):
    format: TextFormat | None = None


class ReasoningConfig(Struct):
    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class ResponseStreamOptions(Struct):
    include_obfuscation: bool | None = None


class CreateRequest(GenerationFields, kw_only=True):
    input: str | list[InputItem] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    metadata: (
        Annotated[dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)]
        | None
    ) = None
    max_output_tokens: Count | None = None
    tools: Annotated[list[FunctionTool], Meta(max_length=MOST_TOOLS)] | None = None
    tool_choice: ChoiceName | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: ReasoningConfig | None = None
    include: list[str] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    stream_options: ResponseStreamOptions | None = None  # type: ignore[assignment]  # other options than chat's
    service_tier: ServiceTier | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    enable_thinking: bool | None = None
    max_thinking_tokens: Annotated[int, Meta(ge=0, le=LARGEST)] | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    @property
    def stores(self) -> bool:
        return self.store is not False

    @property
    def effort(self) -> Effort | None:
        return None if self.reasoning is None else self.reasoning.effort

    @property
    def wants_logprobs(self) -> bool:
        return LOGPROBS in (self.include or [])

    @property
    def wants_sealed(self) -> bool:
        return SEALED in (self.include or [])

    def shown_format(self) -> TextFormat:
        return (self.text and self.text.format) or TextFormat("text")


UNSUPPORTED: Neutral = {
    "background": (False,),
    "truncation": ("disabled",),
    "max_tool_calls": (),
    "conversation": (),
    "prompt": (),
    "context_management": ([],),
    "moderation": (),
}
UNREAD = {"user", "safety_identifier", "prompt_cache_key"}
"""Well-formed and said again in the answer; nothing here reads them."""
KNOWN = {*CreateRequest.__struct_fields__, *UNSUPPORTED} - UNREAD

read_request = msgspec.json.Decoder(CreateRequest)


def read(body: bytes) -> tuple[CreateRequest, list[str]]:
    """What is asked for, and the names of fields without effect. Raises ApiError."""
    request, fields = decode(body, read_request)
    refuse_unsupported(fields, UNSUPPORTED)
    _refuse_names_of_chat(request)
    if request.input is None and request.previous_response_id is None:
        raise errors.invalid("`input` is required.", param="input")
    if request.stream_options is not None:
        if not request.stream:
            raise errors.invalid("`stream_options` needs `stream: true`.", param="stream_options")
        if request.stream_options.include_obfuscation:
            raise errors.not_supported("stream_options.include_obfuscation", "leave it out or send false")
    for at, name in enumerate(request.include or []):
        if name not in INCLUDABLE:
            raise errors.not_supported(f"include[{at}]", f"only {' and '.join(INCLUDABLE)} can be included")
    if request.top_logprobs and not request.wants_logprobs:
        raise errors.invalid(f'`top_logprobs` needs `include: ["{LOGPROBS}"]`.', param="top_logprobs")
    return request, ignored(fields, request)


def _refuse_names_of_chat(request: CreateRequest) -> None:
    if request.max_tokens is not None:
        raise errors.invalid("`max_tokens` is called `max_output_tokens` here.", param="max_tokens")
    if request.n not in (None, 1):
        raise errors.invalid("`n`: a response is one answer; send several requests.", param="n")


def ask_of(request: CreateRequest, items: Sequence[Item], *, before: int) -> Ask:
    """items: the whole conversation, `before` of them from a stored response. Raises ApiError."""
    sources: list[Source] = []
    messages = template_messages(request.instructions, items, sources, before=before)
    if not items:
        raise errors.invalid("`input` is empty; send text or at least one item.", param="input")
    if request.stores and pictures_bytes(items) > settings.MAX_BODY_BYTES:
        raise refusals.too_large_to_keep("store", settings.MAX_BODY_BYTES)
    use = tools_of(request)
    return Ask(
        endpoint="responses",
        model=request.model,
        prompt=protocol.Generate(
            id="",
            messages=messages,
            template=template_options(
                effort=request.effort,
                enable_thinking=request.enable_thinking,
                more=request.chat_template_kwargs,
            ),
            tools=use.tools,
            tool_choice=use.choice,
            tool_name=use.name,
            parallel_tool_calls=request.parallel_tool_calls is not False,
            format=text_format(request),
            max_thinking_tokens=request.max_thinking_tokens,
            sampling=request.sampling(logprobs=(request.top_logprobs or 0) if request.wants_logprobs else None),
            omitted=request.omitted(),
            max_tokens=request.max_output_tokens,
            default_max_tokens=settings.DEFAULT_MAX_TOKENS,
            stop=request.stops(),
        ),
        prompt_param="input",
        stream=bool(request.stream),
        diagnostics=request.diagnostics(),
        tier=chosen(request.service_tier),
        sources=sources,
    )


def tools_of(request: CreateRequest) -> ToolUse:
    tools = [_tool(tool, f"tools[{at}]") for at, tool in enumerate(request.tools or [])]
    match request.tool_choice:
        case None | "none" | "auto" | "required" as choice:
            return tool_use(tools, choice)
        case NamedTool("function", str() as name):
            return tool_use(tools, NamedChoice("function", NamedFunction(name)))
    raise errors.invalid(
        '`tool_choice` must be none, auto, required, or {"type": "function", "name": …}.', param="tool_choice"
    )


def _tool(tool: FunctionTool, where: str) -> Tool:
    if tool.type != "function":
        raise errors.invalid(
            f"`{where}.type` must be `function`: {errors.quote(tool.type)} is not a tool of this server.",
            param=f"{where}.type",
        )
    if tool.name is None:
        raise errors.invalid(f"`{where}.name` is required.", param=f"{where}.name")
    return Tool("function", Function(tool.name, tool.description, tool.parameters, tool.strict))


def text_format(request: CreateRequest) -> protocol.Format | None:
    wanted = request.shown_format()
    if wanted.type != "json_schema":
        return format_of(ResponseFormat(wanted.type, regex=wanted.regex, grammar=wanted.grammar), "text.format")
    if wanted.name is UNSET:
        raise errors.invalid("`text.format.name` is required.", param="text.format.name")
    if wanted.schema is UNSET:
        raise errors.invalid("`text.format.schema` is required.", param="text.format.schema")
    return schema_format(wanted.schema, "text.format.schema")


def ignored(fields: Fields, request: CreateRequest) -> list[str]:
    """Every field of the body without effect here, those inside of objects included, each named once."""
    names = [*without_effect(fields, KNOWN), *without_effect_inside(fields, CreateRequest)]
    if request.reasoning is not None and request.reasoning.summary is not None:
        # The thought itself is in the answer.
        names.append("reasoning.summary")
    return list(dict.fromkeys(names))
