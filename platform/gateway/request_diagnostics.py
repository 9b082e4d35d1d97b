"""`include_diagnostics`: what an answer tells of how it was made."""

from typing import Any, Literal

from msgspec import Struct

from gateway.engine_facts import ContextSource, Memory, context_of, memory_of
from inference.engine.protocol import Divergence, Finished, Ready, Stats

DiagnosticsLevel = Literal["basic", "deep"]


class EngineState(Struct, kw_only=True):
    """The engine's last heartbeat: of all that it works on, not of this request alone."""

    running: int
    waiting: int
    memory: Memory
    batch_divergence: dict[str, Any]
    """The divergence monitor's report."""
    repetition: dict[str, Any]
    """The repetition monitor's."""


class RequestDiagnostics(Struct, kw_only=True):
    level: DiagnosticsLevel
    max_context_tokens: int | None
    effective_context_tokens: int
    effective_context_source: ContextSource
    context_utilization_pct: float
    """Prompt and longest answer, of the effective context."""
    visual_inputs: int
    """Pictures and videos."""
    visual_token_estimate: int | None = None
    """The prompt's tokens that stand for them: counted, not estimated."""
    visual_phase: Literal["unknown"] = "unknown"
    queue_ms: float
    prefill_ms: float
    """From the first step that worked on it to the first token."""
    decode_ms: float
    """From there to the end."""
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    tokens_per_second: float | None
    """Of the answers' tokens after the first one, in `decode_ms`."""
    batching: str
    """As in /v1/models."""
    batch_size: float | None
    """Rows that decoded together with it, itself included: on average, and at most."""
    batch_size_max: int | None
    preemptions: int | None
    cache_divergence: Divergence | None
    """Where its prompt parted from what the prefix cache held; null: nowhere, or nothing was cached."""
    speculative: None = None
    """No draft model is used."""
    runtime: EngineState | None = None
    """With `deep`; null while the engine has sent no heartbeat."""


def diagnose(
    level: DiagnosticsLevel, end: Finished, ready: Ready, stats: Stats | None, *, visual_inputs: int
) -> RequestDiagnostics:
    tally, diagnosis = end.tally, end.diagnosis
    context = context_of(ready, stats)
    # An engine that can't tell how long each of several answers is.
    tokens = tally.prompt_tokens + tally.completion_tokens if diagnosis is None else diagnosis.context_tokens
    decoded = tally.completion_tokens - 1
    return RequestDiagnostics(
        level=level,
        max_context_tokens=context.largest,
        effective_context_tokens=context.effective,
        effective_context_source=context.source,
        context_utilization_pct=round(100 * tokens / context.effective, 2),
        visual_inputs=visual_inputs,
        visual_token_estimate=(diagnosis.picture_tokens or None) if diagnosis is not None else None,
        queue_ms=round(tally.queue_ms, 3),
        prefill_ms=round(tally.prefill_ms, 3),
        decode_ms=round(tally.decode_ms, 3),
        prompt_tokens=tally.prompt_tokens,
        cached_tokens=tally.cached_tokens,
        completion_tokens=tally.completion_tokens,
        reasoning_tokens=tally.reasoning_tokens,
        tokens_per_second=round(1000 * decoded / tally.decode_ms, 2) if decoded > 0 and tally.decode_ms > 0 else None,
        batching=ready.batching,
        batch_size=None if diagnosis is None else round(diagnosis.rows, 2),
        batch_size_max=None if diagnosis is None else diagnosis.most_rows,
        preemptions=None if diagnosis is None else diagnosis.preemptions,
        cache_divergence=None if diagnosis is None else diagnosis.divergence,
        runtime=None if level == "basic" or stats is None else state_of(stats),
    )


def state_of(stats: Stats) -> EngineState:
    return EngineState(
        running=stats.running,
        waiting=stats.waiting,
        memory=memory_of(stats),
        batch_divergence=stats.divergence,
        repetition=stats.repetition,
    )
