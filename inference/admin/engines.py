"""Engines, to read only: what supervisors saw of them last, and how they do now."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from unfold.decorators import display

from accounts.admin.base import ReadOnlyAdmin
from inference.client import SCOPE_KEY, EngineClient
from inference.engine.protocol import Stats
from inference.models import Engine

STATE_COLOURS = {"ready": "success", "starting": "info", "stopped": "warning", "failed": "danger"}
BATCHING_COLOURS = {"batched": "success", "padded": "warning", "single": "warning"}
PATIENCE_SECONDS = 1.5
"""Covers connecting to an engine that nothing was asked of yet, and the half second between two heartbeats."""


async def listen(client: EngineClient, engines: list[Engine]) -> None:
    """Fills in the engines' heartbeats. Only where one was not heard before does this wait for it."""
    heard = await asyncio.gather(*(client.heartbeat(engine.endpoint, PATIENCE_SECONDS) for engine in engines))
    for engine, heartbeat in zip(engines, heard, strict=True):
        engine.heartbeat = heartbeat


def listen_for_page(request: HttpRequest, engines: Iterable[Engine]) -> None:
    """In a gateway process, on the event loop that its connections belong to; elsewhere there is nobody to ask."""
    client: EngineClient | None = getattr(request, "scope", {}).get(SCOPE_KEY)
    if client is not None:
        async_to_sync(listen)(client, [engine for engine in engines if engine.state == Engine.State.READY])


def now(description: str, read: Callable[[Stats], str]) -> Callable[["EngineAdmin", Engine], str | None]:
    """A column or field that the last heartbeat tells."""

    @admin.display(description=description)
    def shown(_: "EngineAdmin", engine: Engine) -> str | None:
        return None if engine.heartbeat is None else read(engine.heartbeat.stats)

    return shown


def hits(stats: Stats) -> str:
    asked, saved = stats.cache.get("tokens_asked", 0), stats.cache.get("tokens_saved", 0)
    return f"{100 * saved / asked:.0f} % of {asked:,} prompt tokens" if asked else "nothing looked up yet"


def blocks(stats: Stats) -> str:
    used, total = stats.cache.get("blocks_used", 0), stats.cache.get("blocks_total", 0)
    return f"{used:,} of {total:,}" if total else "none"


def memory(stats: Stats) -> str:
    report = stats.memory
    if report.get("state", "unknown") == "unknown":
        return "unknown"
    said = [f"{report['state']}: {report['percent']:.0f} % of {filesizeformat(report['limit_bytes'])}"]
    if report["refusing"]:
        said.append("new requests are refused")
    if report["context_share"] < 1:
        said.append(f"new requests get {report['context_share']:.0%} of the context")
    return ", ".join(said)


@admin.register(Engine)
class EngineAdmin(ReadOnlyAdmin):
    list_display = [
        "model_name", "host", "state_badge", "batching_badge",
        "running", "waiting", "cache_hits", "memory_state",
    ]  # fmt: skip
    list_select_related = ["deployment__model"]
    list_display_links = ["model_name"]
    fieldsets = [
        (None, {"fields": [
            "model_name", "host", "state_badge", "last_error", "batching_badge", "batching_reason", "context_length",
            "restarts", "changed_at",
        ]}),
        ("Now", {"fields": ["heard", "running", "waiting", "memory_state", "mlx_memory", "kv", "pool"]}),
        ("Since its start", {"fields": ["requests", "prefilled", "cached", "generated", "preemptions"]}),
        ("Prefix cache", {"fields": ["cache_hits", "cache_blocks"]}),
    ]  # fmt: skip

    running = now("running", lambda stats: f"{stats.running:,}")
    waiting = now("waiting", lambda stats: f"{stats.waiting:,}")
    requests = now("requests", lambda stats: f"{stats.requests:,}")
    prefilled = now("prompt tokens computed", lambda stats: f"{stats.prefill_tokens:,}")
    cached = now("prompt tokens from the cache", lambda stats: f"{stats.cached_tokens:,}")
    generated = now("tokens generated", lambda stats: f"{stats.generated_tokens:,}")
    preemptions = now("preemptions", lambda stats: f"{stats.preemptions:,}")
    cache_hits = now("cache hits", hits)
    cache_blocks = now("blocks in use", blocks)
    memory_state = now("memory", memory)
    mlx_memory = now("MLX's memory", lambda stats: filesizeformat(stats.memory_bytes))
    kv = now("KV of running requests", lambda stats: filesizeformat(stats.kv_bytes))
    pool = now("KV of the prefix cache", lambda stats: filesizeformat(stats.pool_bytes))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Engine]:
        engines: QuerySet[Engine] = super().get_queryset(request)
        return engines.select_related("deployment__model")

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        listen_for_page(request, changelist.result_list)
        return changelist

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Engine | None:
        engine: Engine | None = super().get_object(request, object_id, from_field)
        if engine is not None:
            listen_for_page(request, [engine])
        return engine

    @admin.display(description="model", ordering="deployment__model__name")
    def model_name(self, engine: Engine) -> str:
        return engine.deployment.model.name

    @admin.display(description="host", ordering="deployment__host")
    def host(self, engine: Engine) -> str:
        return engine.deployment.host

    @display(description="state", label=STATE_COLOURS)  # type: ignore[untyped-decorator]
    def state_badge(self, engine: Engine) -> str:
        return engine.state

    @display(description="batching", label=BATCHING_COLOURS)  # type: ignore[untyped-decorator]
    def batching_badge(self, engine: Engine) -> str:
        return engine.batching

    @admin.display(description="last heard of")
    def heard(self, engine: Engine) -> str:
        return "no heartbeat" if engine.heartbeat is None else f"{engine.heartbeat.seconds_ago:.1f} seconds ago"
