"""API keys: issued and revoked here, never edited, never deleted, their secret never shown again."""

import re
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextareaWidget

from accounts import services
from accounts.admin.base import Admin, acting_user
from accounts.models import ApiKey, Scope
from accounts.models.api_key import default_scopes
from accounts.own_teams import do_create_own_team, team_for_key

STATE_COLOURS = {"live": "success", "expired": "warning", "inactive": "warning", "revoked": "danger"}


LIMITS = ["priority", "scopes", "allowed_models", "allowed_networks"]


class Listed(forms.CharField):
    """A list as people write it: one a line, or with commas."""

    def __init__(self, help_text: str) -> None:
        super().__init__(required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}), help_text=help_text)

    def to_python(self, value: Any) -> list[str]:  # type: ignore[override]  # a list is what is stored
        return [word for word in re.split(r"[,\s]+", value or "") if word]


class KeyForm(forms.ModelForm):  # type: ignore[type-arg]
    scopes = forms.MultipleChoiceField(
        choices=Scope,
        initial=default_scopes,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )
    allowed_models = Listed("Names of models; empty: all.")
    allowed_networks = Listed("Such as 10.0.0.0/8; empty: anywhere.")

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        if given.get("user") and not given.get("team"):
            given["team"] = team_for_key(given["user"])
        return given


@admin.register(ApiKey)
class ApiKeyAdmin(Admin):
    list_display = ["prefix", "user", "team", "state_badge", "note", "created_at", "expires_at", "last_used_at"]
    list_select_related = ["user", "team"]
    list_filter = ["team", ("revoked_at", admin.EmptyFieldListFilter)]
    search_fields = ["prefix", "note", "user__username"]
    ordering = ["-created_at", "-pk"]
    actions = ["revoke"]
    autocomplete_fields = ["user", "team"]
    form = KeyForm
    add_fieldsets = [(None, {"fields": ["user", "team", "note", "expires_at", *LIMITS]})]
    fields = [
        "prefix", "user", "team", "state_badge", "note", *LIMITS,
        "created_at", "expires_at", "revoked_at", "last_used_at",
    ]  # fmt: skip

    @display(description="state", label=STATE_COLOURS)  # type: ignore[untyped-decorator]
    def state_badge(self, key: ApiKey) -> str:
        return key.state().value

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Revoking is the one change there is, so it is what the permission to change a key allows."""
        return request.user.has_perm("accounts.change_apikey")

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        issued = services.do_issue_key(
            obj.user,
            note=obj.note,
            team=obj.team or do_create_own_team(obj.user, acting_user=acting_user(request)),
            expires_at=obj.expires_at,
            **{name: getattr(obj, name) for name in LIMITS},
            acting_user=acting_user(request),
        )
        # The page goes on with `obj`: it becomes the row that was stored.
        obj.__dict__.update(issued.row.__dict__)
        # Messages travel in a signed cookie of this browser and are shown once; no table holds the key.
        messages.warning(request, f"Copy the key now, it is never shown again: {issued.raw}")

    @admin.action(description="Revoke selected keys", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        count = sum(services.do_revoke_key(key, acting_user=acting_user(request)) for key in queryset.order_by("pk"))
        messages.success(request, f"{count} of {len(queryset)} keys revoked; the others were already.")

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Nothing: a key has no related rows, and what it is was stored by its service."""
