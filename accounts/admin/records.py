"""The ledger and the audit log: to read, never to change."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.decorators import action, display

from accounts import exports
from accounts.admin.downloads import csv_download
from accounts.admin.filters import ActionFilter, ActorFilter, ModelFilter, OutcomeFilter, beginning
from accounts.admin.keyset import AppendOnlyAdmin
from accounts.models import AuditEvent, UsageRecord

OUTCOME_COLOURS = {
    "running": "info",
    "stop": "success",
    "length": "success",
    "engine_error": "danger",
    "timeout": "danger",
    "interrupted": "danger",
}


@admin.register(UsageRecord)
class UsageRecordAdmin(AppendOnlyAdmin):
    moment_field = "started_at"
    list_display = [
        "when", "username", "team", "key_prefix", "model", "endpoint",
        "outcome_badge", "prompt_tokens", "completion_tokens", "ttft_ms", "duration_ms",
    ]  # fmt: skip
    list_select_related = ["team"]
    list_filter = ["started_at", OutcomeFilter, "team", "user", ModelFilter]
    search_fields = ["request_id"]
    # An id that a client chose has a suffix of ours here.
    search_help_text = "How a request's id begins."
    actions_list = ["export"]

    @display(description="outcome", label=OUTCOME_COLOURS)  # type: ignore[untyped-decorator]
    def outcome_badge(self, record: UsageRecord) -> str:
        return record.outcome or record.state

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[UsageRecord], search_term: str
    ) -> tuple[QuerySet[UsageRecord], bool]:
        return (queryset.filter(beginning("request_id", search_term)) if search_term else queryset), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response: HttpResponse = super().changelist_view(request, extra_context)
        if isinstance(response, TemplateResponse) and response.context_data:
            for each in response.context_data["actions_list"]:
                each["path"] = f"{each['path']}?{request.GET.urlencode()}"
        return response

    @action(description="Export CSV", url_path="export", icon="download", permissions=["view"])  # type: ignore[untyped-decorator]
    def export(self, request: HttpRequest) -> HttpResponseBase:
        """All that the list's filters leave, whichever page it shows."""
        try:
            rows = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            return HttpResponseRedirect(reverse("admin:accounts_usagerecord_changelist"))
        return csv_download("usage-records", exports.of_records(rows))


@admin.register(AuditEvent)
class AuditEventAdmin(AppendOnlyAdmin):
    moment_field = "created_at"
    list_display = ["when", "actor_label", "action", "target_type", "target_label"]
    list_filter = ["created_at", ActionFilter, ActorFilter]
    search_fields = ["target_label"]
    search_help_text = "How the name of what was changed begins."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AuditEvent], search_term: str
    ) -> tuple[QuerySet[AuditEvent], bool]:
        return (queryset.filter(beginning("target_label", search_term)) if search_term else queryset), False

    @admin.display(description="actor")
    def actor_label(self, event: AuditEvent) -> str:
        return event.actor_name or ("nobody" if event.action == "user.sign_in_failed" else "command line")
