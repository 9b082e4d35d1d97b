"""The `response` object, as it is answered, streamed and stored."""

from msgspec import UNSET, Struct, UnsetType

from gateway.answers import Ending, Stamp
from gateway.request_diagnostics import RequestDiagnostics
from gateway.responses.items import Item
from gateway.responses.request import CreateRequest, FunctionTool, NamedTool, ReasoningConfig, TextConfig
from inference.engine.protocol import Tally


class IncompleteDetails(Struct):
    reason: str


class Error(Struct):
    code: str
    message: str


class InputTokensDetails(Struct):
    cached_tokens: int
    cache_write_tokens: int = 0
    """Nothing is charged for what the prefix cache keeps."""


class OutputTokensDetails(Struct):
    reasoning_tokens: int


class Usage(Struct):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class Response(Ending, kw_only=True):
    """All of OpenAI's fields; those that say what was asked for say it as it was asked."""

    id: str
    object: str = "response"
    created_at: int
    """Unix seconds; as `completed_at`."""
    status: str = "in_progress"
    background: bool = False
    completed_at: int | None = None
    error: Error | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: None = None
    metadata: dict[str, str]
    model: str
    output: list[Item] = []
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: ReasoningConfig
    safety_identifier: str | None
    service_tier: str
    store: bool
    temperature: float | None
    """null: the model's own default; so `top_p`."""
    text: TextConfig
    tool_choice: str | NamedTool
    tools: list[FunctionTool]
    top_logprobs: int
    top_p: float | None
    truncation: str = "disabled"
    usage: Usage | None = None
    user: str | None
    diagnostics: RequestDiagnostics | UnsetType = UNSET
    """With include_diagnostics, once it has ended."""


def begun(id: str, stamp: Stamp, request: CreateRequest) -> Response:
    """One that is in progress and has said nothing yet."""
    return Response(
        id=id,
        created_at=stamp.created,
        model=stamp.model,
        instructions=request.instructions,
        max_output_tokens=request.max_output_tokens,
        metadata=request.metadata or {},
        parallel_tool_calls=request.parallel_tool_calls is not False,
        previous_response_id=request.previous_response_id,
        prompt_cache_key=request.prompt_cache_key,
        reasoning=ReasoningConfig(request.effort),
        safety_identifier=request.safety_identifier,
        service_tier=stamp.tier,
        store=request.stores,
        temperature=request.temperature,
        text=TextConfig(request.shown_format()),
        tool_choice="auto" if request.tool_choice is None else request.tool_choice,
        tools=request.tools or [],
        top_logprobs=request.top_logprobs or 0,
        top_p=request.top_p,
        user=request.user,
    )


def usage_of(tally: Tally) -> Usage:
    return Usage(
        input_tokens=tally.prompt_tokens,
        input_tokens_details=InputTokensDetails(tally.cached_tokens),
        output_tokens=tally.completion_tokens,
        output_tokens_details=OutputTokensDetails(tally.reasoning_tokens),
        total_tokens=tally.prompt_tokens + tally.completion_tokens,
    )
