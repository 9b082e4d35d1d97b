"""Announcements, and maintenance mode."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.decorators import display

from accounts import notices
from accounts.admin.base import acting_user
from accounts.admin.editing import EditableAdmin
from accounts.models import Announcement, Maintenance


@admin.register(Announcement)
class AnnouncementAdmin(EditableAdmin):
    list_display = ["text", "shown_badge", "starts_at", "ends_at"]
    fields = ["text", "starts_at", "ends_at"]
    search_fields = ["text"]

    @display(description="shown", label={"now": "success", "not now": "info"})  # type: ignore[untyped-decorator]
    def shown_badge(self, announcement: Announcement) -> str:
        return "now" if announcement.is_current() else "not now"

    def save_model(self, request: HttpRequest, obj: Announcement, form: Any, change: bool) -> None:
        actor = acting_user(request)
        if not change:
            made = notices.do_announce(obj.text, starts_at=obj.starts_at, ends_at=obj.ends_at, acting_user=actor)
            # The page goes on with `obj`: it becomes the row that was stored.
            obj.__dict__.update(made.__dict__)
        elif changes := {name: form.cleaned_data[name] for name in form.changed_data}:
            notices.do_change_announcement(obj, acting_user=actor, **changes)

    def delete_model(self, request: HttpRequest, obj: Announcement) -> None:
        notices.do_delete_announcement(obj, acting_user=acting_user(request))

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for announcement in queryset.order_by("pk"):
            notices.do_delete_announcement(announcement, acting_user=acting_user(request))


@admin.register(Maintenance)
class MaintenanceAdmin(EditableAdmin):
    """One row, so there is no list."""

    fields = ["is_on", "message", "until", "lets_admins_in"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:accounts_maintenance_change", args=[Maintenance.ONLY]))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Maintenance | None:
        """Before it was ever switched on there is no row, and a page all the same."""
        stored: Maintenance | None = super().get_object(request, object_id, from_field)
        return Maintenance.stored() if stored is None and object_id == str(Maintenance.ONLY) else stored

    def save_model(self, request: HttpRequest, obj: Maintenance, form: Any, change: bool) -> None:
        changes = {name: form.cleaned_data[name] for name in form.changed_data}
        if changes:
            notices.do_set_maintenance(acting_user=acting_user(request), **changes)
