"""The bodies of `/v1/messages` and `/v1/messages/count_tokens`, and the `Ask` that they become."""

from typing import Annotated, Any, Literal

import msgspec
from django.conf import settings
from msgspec import Meta, Struct

from gateway import errors
from gateway.anthropic.blocks import (
    Block,
    Message,
    ignored_in_blocks,
    ignored_in_messages,
    prefill,
    template_messages,
    turns_of,
)
from gateway.ask import Ask, Count, GenerationFields, Neutral
from gateway.body import Fields, without_effect, without_effect_inside
from gateway.formats import schema_format
from gateway.media.source import Source
from gateway.tools import MOST_TOOLS, Function, Name, NamedChoice, NamedFunction, ToolUse, tool_use
from gateway.tools import Tool as ChatTool
from inference.engine import protocol
from inference.sampling import LARGEST, Share

MOST_STOP_SEQUENCES = 16
Effort = Literal["low", "medium", "high", "xhigh", "max"]


class Tool(Struct):
    name: Name | None = None
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None


class ToolChoice(Struct):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Struct):
    type: Literal["enabled", "adaptive", "disabled", "between_tools"]
    budget_tokens: Count | None = None
    display: Literal["summarized", "omitted"] | None = None


class OutputFormat(Struct):
    type: Literal["json_schema"]
    schema: dict[str, Any] | bool


class OutputConfig(Struct):
    effort: Effort | None = None
    format: OutputFormat | None = None


class Metadata(Struct):
    user_id: str | None = None


class PromptFields(Struct, kw_only=True):
    """What a prompt is made of, whether it is run or only counted."""

    model: str
    messages: Annotated[list[Message], Meta(min_length=1)]
    system: str | list[Block] | None = None
    tools: Annotated[list[Tool], Meta(max_length=MOST_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    """As the beta had it; `output_config.format` now."""


class MessagesRequest(PromptFields, kw_only=True):
    max_tokens: Count
    temperature: Share | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Meta(ge=0, le=LARGEST)] | None = None
    """0: all tokens."""
    stop_sequences: Annotated[list[str], Meta(max_length=MOST_STOP_SEQUENCES)] | None = None
    stream: bool | None = None
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None


UNSUPPORTED: Neutral = {
    "container": (),
    "mcp_servers": ([],),
    "context_management": (),
    "compaction": (),
    "thread": (),
    "speed": ("standard",),
}
KNOWN = {*MessagesRequest.__struct_fields__, *UNSUPPORTED} - {"metadata"}
KNOWN_OF_COUNT = {*PromptFields.__struct_fields__, *UNSUPPORTED}

read_request = msgspec.json.Decoder(MessagesRequest)
read_count = msgspec.json.Decoder(PromptFields)


def ask_of(request: MessagesRequest) -> Ask:
    """Raises ApiError."""
    budget = request.thinking.budget_tokens if request.thinking is not None else None
    if budget is not None and budget >= request.max_tokens:
        raise errors.invalid(
            "`thinking.budget_tokens` must be less than `max_tokens`, which counts the thinking too.",
            param="thinking.budget_tokens",
        )
    sampled = GenerationFields(
        model=request.model, temperature=request.temperature, top_p=request.top_p, top_k=request.top_k
    )
    sources: list[Source] = []
    prompt = msgspec.structs.replace(
        prompt_of(request, sources),
        max_thinking_tokens=budget,
        sampling=sampled.sampling(),
        omitted=sampled.omitted(),
        max_tokens=request.max_tokens,
        default_max_tokens=settings.DEFAULT_MAX_TOKENS,
        stop=stops(request),
    )
    return Ask(
        endpoint="messages",
        model=request.model,
        prompt=prompt,
        prompt_param="messages",
        stream=bool(request.stream),
        tier="default" if request.service_tier == "standard_only" else None,
        sources=sources,
    )


def ask_to_count(request: PromptFields) -> Ask:
    """One that is counted, and not run. Raises ApiError."""
    sources: list[Source] = []
    prompt = prompt_of(request, sources)
    return Ask("messages.count_tokens", request.model, prompt, "messages", stream=False, sources=sources)


def prompt_of(request: PromptFields, sources: list[Source]) -> protocol.Generate:
    """All that decides what the model reads; where its pictures come from goes into `sources`. Raises ApiError."""
    turns = turns_of(request.system, request.messages)
    messages = template_messages(turns, sources)
    use = use_of(request.tools or [], request.tool_choice)
    form = format_of(request)
    options = thinking_options(request.thinking)
    if request.output_config is not None and request.output_config.effort is not None:
        options["reasoning_effort"] = request.output_config.effort
    if (begun := prefill(turns)) is not None:
        for given, name in (
            (options.get("enable_thinking"), "thinking"),
            (form, "output_config.format"),
            (use.choice == "required", "tool_choice"),
        ):
            if given:
                raise errors.invalid(
                    f"`{begun[0]}`: the last message is the assistant's, and an answer that is begun already can't "
                    f"have what `{name}` asks for; end with a user's message.",
                    param=begun[0],
                )
        options["continue_final_message"] = True
    return protocol.Generate(
        id="",
        messages=messages,
        template=options,
        tools=use.tools,
        tool_choice=use.choice,
        tool_name=use.name,
        parallel_tool_calls=not (request.tool_choice and request.tool_choice.disable_parallel_tool_use),
        format=form,
    )


def use_of(tools: list[Tool], choice: ToolChoice | None) -> ToolUse:
    """Raises ApiError."""
    functions = [ChatTool("function", _function(tool, f"tools[{at}]")) for at, tool in enumerate(tools)]
    match choice:
        case None | ToolChoice("auto"):
            return tool_use(functions, "auto")
        case ToolChoice("any"):
            return tool_use(functions, "required")
        case ToolChoice("none"):
            return tool_use(functions, "none")
        case ToolChoice("tool", str() as name):
            return tool_use(functions, NamedChoice(function=NamedFunction(name)))
    raise errors.invalid("`tool_choice.name` is required.", param="tool_choice.name")


def _function(tool: Tool, where: str) -> Function:
    if tool.type not in (None, "custom"):
        raise errors.not_supported(
            f"{where}.type", f"{errors.quote(tool.type)} is a tool of Anthropic's servers; describe your own tools"
        )
    for name in ("name", "input_schema"):
        if getattr(tool, name) is None:
            raise errors.invalid(f"`{where}.{name}` is required.", param=f"{where}.{name}")
    return Function(tool.name or "", tool.description, tool.input_schema, tool.strict)


def thinking_options(thinking: Thinking | None) -> dict[str, Any]:
    """What the chat template is told. Raises ApiError."""
    match thinking:
        case None:
            return {}
        case Thinking("between_tools"):
            raise errors.not_supported("thinking.type", "send enabled, adaptive or disabled")
        case Thinking("enabled", None):
            raise errors.invalid("`thinking.budget_tokens` is required.", param="thinking.budget_tokens")
        case Thinking("adaptive" | "disabled", int()):
            raise errors.invalid(
                f"`thinking.budget_tokens` belongs to the type enabled, not {thinking.type}.",
                param="thinking.budget_tokens",
            )
    return {"enable_thinking": thinking.type != "disabled"}


def format_of(request: PromptFields) -> protocol.Format | None:
    """Raises ApiError."""
    configured = request.output_config.format if request.output_config is not None else None
    if configured is not None and request.output_format is not None:
        raise errors.invalid(
            "`output_format` and `output_config.format` contradict each other; send the second.", param="output_format"
        )
    if configured is not None:
        return schema_format(configured.schema, "output_config.format.schema")
    if request.output_format is not None:
        return schema_format(request.output_format.schema, "output_format.schema")
    return None


def stops(request: MessagesRequest) -> list[str]:
    stops = request.stop_sequences or []
    if "" in stops:
        where = f"stop_sequences[{stops.index('')}]"
        raise errors.invalid(f"`{where}`: an empty string would stop at once; leave it out.", param=where)
    return stops


def ignored(fields: Fields, known: set[str]) -> list[str]:
    """Every field of the body without effect here, those inside others included, each named once."""
    names = without_effect(fields, known)
    # What the fields of a block mean depends on its type.
    names += without_effect_inside(fields, MessagesRequest, but=("messages", "system", "metadata"))
    if "system" in fields:
        names += ignored_in_blocks(fields["system"], "system")
    return list(dict.fromkeys([*names, *ignored_in_messages(fields["messages"])]))
