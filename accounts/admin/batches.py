"""Files and batches: what they are and how they do, never what is in them."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from unfold.decorators import display

from accounts import files
from accounts.admin.base import ReadOnlyAdmin, acting_user
from accounts.batches import verbs
from accounts.models import Batch, StoredFile

STATUS_COLOURS = {
    "completed": "success",
    "in_progress": "info",
    "finalizing": "info",
    "failed": "danger",
    "expired": "danger",
    "cancelling": "warning",
    "cancelled": "warning",
}


@admin.register(StoredFile)
class StoredFileAdmin(ReadOnlyAdmin):
    """Deleted one by one or several at once, through the verb that writes it down."""

    list_display = ["file_id", "user", "team", "purpose", "size_label", "created_at", "expires_at"]
    list_select_related = ["user", "team"]
    list_filter = ["purpose", "team"]
    search_fields = ["file_id__exact", "user__username"]
    search_help_text = "A whole file id, or a part of a user's name."
    date_hierarchy = "created_at"
    # A file's name may tell what is in it.
    fields = ["file_id", "user", "team", "purpose", "size_label", "made_by", "created_at", "expires_at"]
    actions = ["delete_files"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[StoredFile]:
        """Without those that are just being uploaded, or deleted."""
        found: QuerySet[StoredFile] = super().get_queryset(request)
        return found.filter(is_whole=True)

    @admin.display(description="size", ordering="size")
    def size_label(self, file: StoredFile) -> str:
        return filesizeformat(file.size)

    def has_remove_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("accounts.delete_storedfile")

    @admin.action(description="Delete selected files", permissions=["remove"])
    def delete_files(self, request: HttpRequest, queryset: QuerySet[StoredFile]) -> None:
        deleted = in_use = 0
        for file in queryset.order_by("pk"):
            try:
                deleted += files.do_delete_file(file, acting_user=acting_user(request))
            except files.FileInUse:
                in_use += 1
        messages.success(request, f"{deleted} files deleted.")
        if in_use:
            messages.warning(request, f"{in_use} stay: batches that have not ended read them. Cancel those first.")


@admin.register(Batch)
class BatchAdmin(ReadOnlyAdmin):
    list_display = ["batch_id", "user", "team", "endpoint", "model", "status_badge", "progress", "created_at"]
    list_select_related = ["user", "team"]
    list_filter = ["status", "endpoint", "team"]
    search_fields = ["batch_id__exact", "user__username"]
    search_help_text = "A whole batch id, or a part of a user's name."
    date_hierarchy = "created_at"
    # Neither the client's metadata nor the lease.
    fields = [
        "batch_id", "user", "team", "key", "endpoint", "model", "status_badge", "progress", "reason",
        "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens",
        "created_at", "in_progress_at", "finalizing_at", "cancelling_at", "ended_at", "expires_at",
    ]  # fmt: skip
    actions = ["cancel"]

    @display(description="status", label=STATUS_COLOURS)  # type: ignore[untyped-decorator]
    def status_badge(self, batch: Batch) -> str:
        return batch.status

    @admin.display(description="answered, failed, of all")
    def progress(self, batch: Batch) -> str:
        return f"{batch.completed:,}, {batch.failed:,}, {batch.total:,}"

    @admin.display(description="what was wrong")
    def reason(self, batch: Batch) -> str:
        """Codes and lines: messages quote what the client wrote."""
        told = [f"line {each['line']}: {each['code']}" if each["line"] else each["code"] for each in batch.errors]
        return ", ".join(told) or "-"

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Cancelling is the one change there is, so it is what the permission to change a batch allows."""
        return request.user.has_perm("accounts.change_batch")

    @admin.action(description="Cancel selected batches", permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Batch]) -> None:
        cancelled = 0
        for batch in queryset.order_by("pk"):
            try:
                verbs.do_cancel_batch(batch, acting_user=acting_user(request))
                cancelled += 1
            except verbs.AlreadyEnded:
                continue
        messages.success(request, f"{cancelled} of {len(queryset)} batches cancelled; the others had ended.")
