"""Models: what is known of each, whether it is here and served; finding out what one is, and downloading it."""

from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Prefetch, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.views.decorators.http import require_POST
from unfold.decorators import display

from accounts.admin.base import ReadOnlyAdmin, acting_user
from inference import library
from inference.admin.engines import STATE_COLOURS
from inference.catalogue import Listed, listed_model
from inference.downloads import AlreadyEnded, NotOfHub, do_cancel_download, do_request_download
from inference.engine.options import OptionError
from inference.hub.cache import gb
from inference.hub.client import Hub
from inference.hub.errors import HubError
from inference.inspection import Inspection, inspect_source, lines
from inference.models import Deployment, Download, Engine, Model
from inference.sources import SourceError, is_of_hub

SERVED_COLOURS = {**STATE_COLOURS, "not served": "warning"}
HERE_COLOURS = {"here": "success", "downloading": "info", "waiting": "info", "failed": "danger", "missing": "danger"}
PATIENCE_SECONDS = 10.0
"""For a hub to say what there is, once more after a fault: somebody waits for the page."""


@admin.register(Model)
class ModelPage(ReadOnlyAdmin):
    list_display = ["name", "kind_label", "here", "size", "served", "context_length", "names", "options"]
    search_fields = ["name", "source"]
    fields = [
        "name", "kind_label", "here", "size", "served", "context_length", "source", "revision", "commit", "licence",
        "names", "options", "created_at",
    ]  # fmt: skip
    change_form_before_template = "admin/inference/model_download.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Model]:
        found: QuerySet[Model] = super().get_queryset(request)
        return found.prefetch_related(
            Prefetch("deployments", Deployment.objects.select_related("engine", "model"), to_attr="wishes"),
            "deployments",
            "downloads",
        )

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        own = [
            path("<int:id>/progress/", view(self.progress), name="inference_model_progress"),
            path("<int:id>/download/", view(require_POST(self.download)), name="inference_model_download"),
            path("<int:id>/cancel/", view(require_POST(self.cancel)), name="inference_model_cancel"),
        ]
        return own + list(super().get_urls())

    # --- adding

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("inference.add_model")

    def may_download(self, request: HttpRequest) -> bool:
        return request.user.has_perm("inference.change_model")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """What one is, then adding it: `do` is `inspect`, `add` or `download`."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        wanted, revision = request.POST.get("source", "").strip(), request.POST.get("revision", "").strip()
        do = request.POST.get("do", "")
        found: Inspection | None = None
        if do:
            try:
                if do == "inspect":
                    found = self.inspected(wanted, revision)
                else:
                    return HttpResponseRedirect(self.added(request, wanted, revision, with_download=do == "download"))
            except (SourceError, HubError, OptionError) as error:
                messages.error(request, str(error))
            except ValidationError as error:
                messages.error(request, " ".join(error.messages))
        context = {
            **self.admin_site.each_context(request), "title": "Add a model", "opts": self.model._meta,
            "source": wanted, "revision": revision, "found": found, "lines": lines(found) if found else [],
            "may_download": self.may_download(request) and found is not None and is_of_hub(found.source),
        }  # fmt: skip
        return TemplateResponse(request, "admin/inference/add_model.html", context)

    def inspected(self, wanted: str, revision: str) -> Inspection:
        source, known = library.named(wanted, revision)
        with Hub(timeout=PATIENCE_SECONDS, retries=1, offline=settings.OFFLINE) as hub:
            options = known.engine_options if known else {}
            return inspect_source(source, hub, options=options, commit=known.commit if known else "")

    def added(self, request: HttpRequest, wanted: str, revision: str, *, with_download: bool) -> str:
        """Where its page is."""
        source, _ = library.named(wanted, revision)
        model = library.do_add_model(source, acting_user=acting_user(request))
        if with_download and source.is_of_hub and self.may_download(request):
            do_request_download(model, acting_user=acting_user(request))
        return reverse("admin:inference_model_change", args=[model.pk])

    # --- downloading

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        if (model := kwargs.get("obj")) is not None:
            context.update(self.part(request, model))
        response: HttpResponse = super().render_change_form(request, context, **kwargs)
        return response

    def progress(self, request: HttpRequest, id: int) -> HttpResponse:
        """What the page fetches anew."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return render(request, "admin/inference/model_progress.html", self.part(request, self.one(id)))

    def part(self, request: HttpRequest, model: Model) -> dict[str, Any]:
        found: Listed = listed_model(model)
        download = found.download
        return {
            "listed": found, "download": download, "is_of_hub": found.origin == "hub",
            "is_running": download is not None and not download.is_finished(),
            "done": gb(download.bytes_done) if download else "", "total": gb(download.bytes_total) if download else "",
            "rate": gb(download.rate) if download else "", "may_download": self.may_download(request),
        }  # fmt: skip

    def download(self, request: HttpRequest, id: int) -> HttpResponse:
        """Or goes on with one that has failed, or was cancelled."""
        if not self.may_download(request):
            raise PermissionDenied
        try:
            do_request_download(self.one(id), acting_user=acting_user(request), force="force" in request.POST)
        except NotOfHub:
            messages.error(request, "It is here already: it is of no hub.")
        return HttpResponseRedirect(reverse("admin:inference_model_change", args=[id]))

    def cancel(self, request: HttpRequest, id: int) -> HttpResponse:
        if not self.may_download(request):
            raise PermissionDenied
        running = Download.objects.unfinished().filter(model=id).first()
        try:
            if running is None:
                raise AlreadyEnded
            do_cancel_download(running, acting_user=acting_user(request))
            messages.success(request, "Cancelled. What was fetched is kept.")
        except AlreadyEnded:
            messages.info(request, "Nothing to cancel: it has ended already.")
        return HttpResponseRedirect(reverse("admin:inference_model_change", args=[id]))

    def one(self, id: int) -> Model:
        found = Model.objects.prefetch_related("deployments", "downloads").filter(pk=id).first()
        if found is None:
            raise Http404
        return found

    # --- columns and fields

    @admin.display(description="kind")
    def kind_label(self, model: Model) -> str:
        found = [model.kind, *(engine.kind for engine in engines_of(model)), str(model.facts.get("kind", ""))]
        return next((kind for kind in found if kind), "not known yet")

    @display(description="files", label=HERE_COLOURS)  # type: ignore[untyped-decorator]
    def here(self, model: Model) -> tuple[str, str]:
        found = listed_model(model)
        return found.state, found.state_label

    @admin.display(description="size")
    def size(self, model: Model) -> str:
        return gb(listed_model(model).size)

    @display(description="served", label=SERVED_COLOURS)  # type: ignore[untyped-decorator]
    def served(self, model: Model) -> str:
        states = [engine.state for engine in engines_of(model)]
        return next((str(state) for state in (Engine.State.READY, *states) if state in states), "not served")

    @admin.display(description="context")
    def context_length(self, model: Model) -> str:
        known = [engine.context_length for engine in engines_of(model) if engine.context_length]
        told = model.facts.get("context_length")
        return f"{min(known):,} tokens" if known else f"{told:,} tokens" if told else "not known yet"

    @admin.display(description="licence")
    def licence(self, model: Model) -> str:
        return str(model.facts.get("licence") or "not known")

    @admin.display(description="other names")
    def names(self, model: Model) -> str:
        return ", ".join(map(str, model.aliases)) or "none"

    @admin.display(description="options")
    def options(self, model: Model) -> str:
        return ", ".join(f"{name} {value}" for name, value in sorted(model.engine_options.items())) or "defaults"


def engines_of(model: Model) -> list[Engine]:
    """Of a model from the page's queryset."""
    return [deployment.engine for deployment in model.wishes if hasattr(deployment, "engine")]  # type: ignore[attr-defined]
