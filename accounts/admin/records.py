"""The ledger and the audit log: to read, never to change."""

from django.contrib import admin
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from accounts.admin.base import ReadOnlyAdmin
from accounts.models import AuditEvent, UsageRecord

OUTCOME_COLOURS = {
    "running": "info",
    "stop": "success",
    "length": "success",
    "engine_error": "danger",
    "timeout": "danger",
    "interrupted": "danger",
}


class AppendOnlyAdmin(ReadOnlyAdmin):
    """For tables that only grow: counting them for the page numbers would read them whole."""

    paginator = InfinitePaginator


@admin.register(UsageRecord)
class UsageRecordAdmin(AppendOnlyAdmin):
    list_display = [
        "started_at", "username", "team", "key_prefix", "model", "endpoint",
        "outcome_badge", "prompt_tokens", "completion_tokens", "ttft_ms", "duration_ms",
    ]  # fmt: skip
    list_select_related = ["team"]
    # Choices and small tables only: a filter by model or endpoint would look for the distinct ones in every row.
    list_filter = ["state", "outcome", "stream", "team", "user"]
    # Both are answered by an index. An id that a client chose has a suffix of ours here.
    search_fields = ["request_id__startswith", "model__exact"]
    search_help_text = "A request id or a whole model name."
    date_hierarchy = "started_at"

    sortable_by = ["started_at"]

    @display(description="outcome", label=OUTCOME_COLOURS)  # type: ignore[untyped-decorator]
    def outcome_badge(self, record: UsageRecord) -> str:
        return record.outcome or record.state


@admin.register(AuditEvent)
class AuditEventAdmin(AppendOnlyAdmin):
    list_display = ["created_at", "actor_label", "action", "target_type", "target_label"]
    list_filter = ["action"]
    search_fields = ["target_label", "actor_name"]
    date_hierarchy = "created_at"

    @admin.display(description="actor", ordering="actor_name")
    def actor_label(self, event: AuditEvent) -> str:
        return event.actor_name or ("nobody" if event.action == "user.sign_in_failed" else "command line")
