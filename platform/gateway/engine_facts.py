"""What an engine says of itself, in the words of `/v1/capabilities`, `/health/diagnostics` and `diagnostics`."""

from dataclasses import dataclass
from typing import Literal

from msgspec import Struct

from inference.engine.options import EngineOptions, make
from inference.engine.protocol import Ready, Stats

GB = 1e9
PRESSURE: dict[str, "Pressure"] = {"ok": "normal", "warn": "elevated", "limit": "critical"}

Pressure = Literal["normal", "elevated", "critical", "unknown"]
Trend = Literal["growing", "stable", "declining", "unknown"]
ContextSource = Literal["operator_override", "model_config", "memory"]


@dataclass(frozen=True, slots=True)
class Context:
    """Tokens of prompt and answer together."""

    largest: int | None
    """That the model is configured for; None where it doesn't say."""
    effective: int
    """That a request gets now."""
    source: ContextSource
    """What decides that: --effective-context-tokens, the model, or how much memory there is."""


def context_of(ready: Ready, stats: Stats | None) -> Context:
    """stats: for whether memory is short now."""
    override = options_of(ready).effective_context_tokens
    share = stats.memory.get("context_share", 1.0) if stats is not None else 1.0
    limit = min(ready.context_length, override or ready.context_length)
    effective = max(1, int(limit * share))
    largest = ready.traits.positions
    source: ContextSource = "model_config"
    if share < 1:
        source = "memory"
    elif limit == override:
        source = "operator_override"
    elif largest is not None and limit < largest:
        source = "memory"
    return Context(largest, effective, source)


def options_of(ready: Ready) -> EngineOptions:
    """What the engine runs with, which what is stored for its model may no longer be."""
    return make(ready.options)


class Memory(Struct, kw_only=True):
    """GB are 10^9 bytes. null: not known."""

    active_gb: float | None = None
    """In use by the engine now: weights, caches, work in progress."""
    peak_gb: float | None = None
    system_gb: float | None = None
    """What there is for models: a GPU's share, or what the machine or its container has."""
    utilization_pct: float | None = None
    trend: Trend = "unknown"
    pressure: Pressure = "unknown"


def memory_of(stats: Stats | None) -> Memory:
    if stats is None:
        return Memory()
    report = stats.memory
    known = report.get("state", "unknown") != "unknown"
    return Memory(
        active_gb=round(stats.memory_bytes / GB, 3),
        peak_gb=round(stats.peak_memory_bytes / GB, 3),
        system_gb=round(report["limit_bytes"] / GB, 3) if known else None,
        utilization_pct=report["percent"] if known else None,
        trend=report.get("trend", "unknown"),
        pressure=PRESSURE.get(report.get("state", "unknown"), "unknown"),
    )
