"""Models and engines in the admin, to read only: what supervisors saw of engines last, and how they do now. And the
beginnings of prompts that are everybody's."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from asgiref.sync import async_to_sync
from django import forms
from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from accounts.admin.base import ReadOnlyAdmin, acting_user
from accounts.admin.editing import EditableAdmin
from inference import services
from inference.client import SCOPE_KEY, EngineClient
from inference.engine.protocol import Stats
from inference.models import Deployment, Engine, Model, SharedPrefix

STATE_COLOURS = {"ready": "success", "starting": "info", "stopped": "warning", "failed": "danger"}
SERVED_COLOURS = {**STATE_COLOURS, "not served": "warning"}
TEXT: Any = SharedPrefix._meta.get_field("text")
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


@admin.register(Model)
class ModelPage(ReadOnlyAdmin):
    list_display = ["name", "kind_label", "served", "context_length", "names", "options"]
    search_fields = ["name", "source"]
    fields = ["name", "kind_label", "served", "context_length", "source", "names", "options", "created_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Model]:
        found: QuerySet[Model] = super().get_queryset(request)
        return found.prefetch_related(
            Prefetch("deployments", Deployment.objects.select_related("engine", "model"), to_attr="wishes")
        )

    @admin.display(description="kind")
    def kind_label(self, model: Model) -> str:
        found = [model.kind, *(engine.kind for engine in engines_of(model))]
        return next((kind for kind in found if kind), "not known yet")

    @display(description="served", label=SERVED_COLOURS)  # type: ignore[untyped-decorator]
    def served(self, model: Model) -> str:
        states = [engine.state for engine in engines_of(model)]
        return next((str(state) for state in (Engine.State.READY, *states) if state in states), "not served")

    @admin.display(description="context")
    def context_length(self, model: Model) -> str:
        known = [engine.context_length for engine in engines_of(model) if engine.context_length]
        return f"{min(known):,} tokens" if known else "not known yet"

    @admin.display(description="other names")
    def names(self, model: Model) -> str:
        return ", ".join(map(str, model.aliases)) or "none"

    @admin.display(description="options")
    def options(self, model: Model) -> str:
        return ", ".join(f"{name} {value}" for name, value in sorted(model.engine_options.items())) or "defaults"


def engines_of(model: Model) -> list[Engine]:
    """Of a model from the page's queryset."""
    return [deployment.engine for deployment in model.wishes if hasattr(deployment, "engine")]  # type: ignore[attr-defined]


class PrefixForm(forms.ModelForm):  # type: ignore[type-arg]
    # Unstripped: how a prompt begins matters to the character.
    text = forms.CharField(strip=False, widget=UnfoldAdminTextareaWidget, help_text=TEXT.help_text)


@admin.register(SharedPrefix)
class SharedPrefixAdmin(EditableAdmin):
    list_display = ["name", "model", "characters", "is_pinned", "created_at"]
    list_select_related = ["model"]
    search_fields = ["name"]
    form = PrefixForm
    fields = ["name", "model", "text", "is_pinned"]

    def get_readonly_fields(self, request: HttpRequest, obj: SharedPrefix | None = None) -> list[str]:
        """Of another model it is another prefix."""
        return ["model"] if obj else []

    @admin.display(description="characters")
    def characters(self, prefix: SharedPrefix) -> str:
        return f"{len(prefix.text):,}"

    def save_model(self, request: HttpRequest, obj: SharedPrefix, form: Any, change: bool) -> None:
        actor = acting_user(request)
        if not change:
            made = services.do_share_prefix(
                obj.model, obj.text, name=obj.name, is_pinned=obj.is_pinned, acting_user=actor
            )
            # The page goes on with `obj`: it becomes the row that was stored.
            obj.__dict__.update(made.__dict__)
        elif changes := {name: form.cleaned_data[name] for name in form.changed_data}:
            services.do_change_shared_prefix(obj, acting_user=actor, **changes)

    def delete_model(self, request: HttpRequest, obj: SharedPrefix) -> None:
        services.do_delete_shared_prefix(obj, acting_user=acting_user(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[SharedPrefix]) -> None:
        for prefix in queryset.order_by("pk"):
            services.do_delete_shared_prefix(prefix, acting_user=acting_user(request))


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
