"""The beginnings of prompts that are everybody's."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminTextareaWidget

from accounts.admin.base import acting_user
from accounts.admin.editing import EditableAdmin
from inference import services
from inference.models import SharedPrefix

TEXT: Any = SharedPrefix._meta.get_field("text")


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
