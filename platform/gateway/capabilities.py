"""`GET /v1/capabilities`: what this server and its default model can do, or the model that `?model=` names."""

from typing import Any, Literal, get_args
from urllib.parse import parse_qs

from django.conf import settings
from msgspec import Struct

from accounts.authentication import Principal
from gateway import runtime
from gateway.access import model_for, models_of
from gateway.answers import encode
from gateway.context import of
from gateway.endpoint import KeyedEndpoint
from gateway.engine_facts import ContextSource, context_of, options_of
from gateway.health import PATIENCE_SECONDS
from gateway.request_diagnostics import DiagnosticsLevel
from inference.client import EngineUnavailable
from inference.engine.options import FIELDS, EngineOptions, resolved
from inference.engine.protocol import Ready, Stats
from inference.registry import ServedModel

GENERATING = ("text", "vision")
"""Kinds of models that answer with text."""


class Modalities(Struct, kw_only=True):
    text: bool
    image: bool
    video: bool
    audio_input: bool
    audio_output: bool


class Features(Struct, kw_only=True):
    """Of the model, and false while its engine is not there: tools, structured output, reasoning and the prefix cache.
    Of the server: all others; embeddings, rerank, transcription and speech need a model for it, whichever was asked
    for."""

    streaming: bool
    tool_calling: bool
    auto_tool_choice: bool
    structured_output: bool
    reasoning: bool
    reasoning_configured: bool
    """Its thoughts are told apart from its answers."""
    prefix_caching: bool
    embeddings: bool
    rerank: bool
    transcription: bool
    speech: bool
    anthropic_messages: bool
    responses: bool
    files: bool
    batches: bool
    mcp: bool
    request_diagnostics: bool
    request_cancellation: bool
    strict_model_id: bool
    strict_parameters: bool


class RepetitionPolicy(Struct, kw_only=True):
    default_mode: str | None
    supported_modes: list[str]
    request_override: Literal["disabled"] = "disabled"


class Policies(Struct):
    repetition: RepetitionPolicy


class DiagnosticsOffer(Struct):
    enabled: bool = True
    levels: tuple[str, ...] = get_args(DiagnosticsLevel)
    default_level: str = "basic"
    deep_supported: bool = True


class Auth(Struct):
    api_key_required: bool = True
    accepted_headers: tuple[str, ...] = ("authorization", "x-api-key")


class RateLimit(Struct):
    requests_per_minute: int | None
    """Of the key that asks; null where its limits can't be looked up."""
    enabled: bool = True


class Limits(Struct, kw_only=True):
    default_max_tokens: int
    default_timeout_seconds: float
    max_context_tokens: int | None
    effective_context_tokens: int | None
    effective_context_source: ContextSource | None


class ModelTraits(Struct, kw_only=True):
    model_type: str | None
    architecture_type: str | None
    max_position_embeddings: int | None
    batching: str | None
    """"batched", "padded" (long requests slow short ones down) or "single" (one at a time)."""
    batching_reason: str | None
    """Why not "batched", in words."""
    is_vlm: bool
    has_chat_template: bool | None
    # There is no list of known faults here that models are held against.
    known_issues: list[str] = []
    triage_available: bool = False
    triage_status: str = "unavailable"
    triage_version: str | None = None
    has_thinking_tokens: bool | None
    reasoning_mechanism: str | None
    """How thoughts are marked: the reasoning parser's name."""
    triage_error: str | None = None


class CapabilitiesObject(Struct, kw_only=True):
    """null: not known while the model's engine is not there."""

    object: str = "capabilities"
    model_loaded: bool
    model_name: str | None
    model_type: Literal["llm", "mllm"] | None
    modalities: Modalities
    features: Features
    policies: Policies
    diagnostics: DiagnosticsOffer
    auth: Auth
    rate_limit: RateLimit
    limits: Limits
    model_traits: ModelTraits


class Capabilities(KeyedEndpoint):
    async def handle(self, body: bytes) -> None:
        gateway = runtime.current()
        model = await chosen_model(self.scope["query_string"], gateway, self.principal)
        ready: Ready | None = None
        stats: Stats | None = None
        if model is not None:
            try:
                ready = await gateway.engines.wait_ready(model.endpoint, PATIENCE_SECONDS)
                stats = gateway.engines.stats(model.endpoint)
            except EngineUnavailable:
                ready = None
        served = {each.kind or "text" for each in await models_of(gateway, self.principal)}
        rate = of(self.scope).rate_limits.get("requests")
        limit = RateLimit(rate.limit if rate else None)
        await self.answer(encode(described(model, ready, stats, kinds=served, paths=served_paths(), rate_limit=limit)))


def caches(ready: Ready, options: EngineOptions) -> bool:
    """Whether what prompts have in common is computed once. Models that run one request at a time keep nothing."""
    return ready.batching != "single" and resolved(options).prefix_cache


def served_paths() -> set[str]:
    """Which dialects there are is for the router to say, which imports us."""
    from gateway.routing import application

    router: Any = application.application
    return {str(route.pattern) for route in router.routes}


async def chosen_model(query: bytes, gateway: "runtime.Runtime", principal: Principal) -> ServedModel | None:
    """The one that `?model=` names, else the default one; None where nothing is served. Raises ApiError."""
    name = parse_qs(query.decode("latin-1")).get("model", [""])[-1]
    if not name:
        return next(iter(await models_of(gateway, principal)), None)
    return await model_for(gateway, principal, name)


def described(
    model: ServedModel | None,
    ready: Ready | None,
    stats: Stats | None,
    *,
    kinds: set[str],
    paths: set[str],
    rate_limit: RateLimit,
) -> CapabilitiesObject:
    """kinds: of all models that are served."""
    kind = (model.kind or "text") if model else ""
    generates = kind in GENERATING
    accepts = model.modalities if model else ()
    options = options_of(ready) if ready else None
    context = context_of(ready, stats) if ready else None
    traits = ready.traits if ready else None
    tools = traits is not None and traits.tools is not None
    reasons = traits is not None and traits.reasoning is not None
    sees = "image" in accepts
    return CapabilitiesObject(
        model_loaded=ready is not None,
        model_name=model.name if model else None,
        model_type=("mllm" if sees else "llm") if generates else None,
        modalities=Modalities(
            text="text" in accepts,
            image=sees,
            video="video" in accepts,
            audio_input="audio" in accepts,
            audio_output=kind == "speech",
        ),
        features=Features(
            streaming=generates,
            tool_calling=tools,
            auto_tool_choice=tools,
            structured_output=generates and ready is not None,
            reasoning=reasons,
            reasoning_configured=reasons,
            prefix_caching=ready is not None and options is not None and generates and caches(ready, options),
            embeddings="v1/embeddings" in paths and "embedding" in kinds,
            rerank="v1/rerank" in paths and "reranker" in kinds,
            transcription="v1/audio/transcriptions" in paths and "transcription" in kinds,
            speech="v1/audio/speech" in paths and "speech" in kinds,
            anthropic_messages="v1/messages" in paths,
            responses="v1/responses" in paths,
            files="v1/files" in paths,
            batches="v1/batches" in paths,
            mcp=False,
            request_diagnostics=True,
            request_cancellation=True,
            strict_model_id=settings.STRICT_MODEL_ID,
            strict_parameters=settings.STRICT_PARAMETERS,
        ),
        policies=Policies(
            RepetitionPolicy(
                default_mode=options.repetition_policy if options else None,
                supported_modes=[str(choice) for choice in FIELDS["repetition_policy"].choices],
            )
        ),
        diagnostics=DiagnosticsOffer(),
        auth=Auth(),
        rate_limit=rate_limit,
        limits=Limits(
            default_max_tokens=(options and options.max_tokens) or settings.DEFAULT_MAX_TOKENS,
            default_timeout_seconds=(options and options.timeout) or settings.REQUEST_TIMEOUT_SECONDS,
            max_context_tokens=context.largest if context else None,
            effective_context_tokens=context.effective if context else None,
            effective_context_source=context.source if context else None,
        ),
        model_traits=ModelTraits(
            model_type=traits.model_type if traits else None,
            architecture_type=traits.architecture if traits else None,
            max_position_embeddings=traits.positions if traits else None,
            batching=ready.batching if ready else None,
            batching_reason=(ready.batching_reason or None) if ready else None,
            is_vlm=sees,
            has_chat_template=ready.has_chat_template if ready else None,
            has_thinking_tokens=reasons if traits else None,
            reasoning_mechanism=traits.reasoning if traits else None,
        ),
    )
