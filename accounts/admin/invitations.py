"""Invitations: made and revoked here, never edited, their link never shown again."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.decorators import display
from unfold.widgets import UnfoldAdminIntegerFieldWidget

from accounts.admin.base import Admin, acting_user
from accounts.invitations import do_invite, do_revoke_invitation
from accounts.links import absolute
from accounts.models import Invitation
from accounts.models.invitation import LIFETIME, LONGEST

STATE_COLOURS = {"open": "info", "accepted": "success", "expired": "warning", "revoked": "danger"}


class InvitationForm(forms.ModelForm):  # type: ignore[type-arg]
    days = forms.IntegerField(
        min_value=1, max_value=LONGEST.days, initial=LIFETIME.days, widget=UnfoldAdminIntegerFieldWidget
    )

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        # What is stored is made by the verb; the model's own check wants a time, too.
        self.instance.expires_at = timezone.now() + timedelta(days=given.get("days", 1))
        return given


@admin.register(Invitation)
class InvitationAdmin(Admin):
    list_display = ["created_at", "team", "role", "email", "state_badge", "invited_by", "expires_at", "accepted_by"]
    list_select_related = ["team", "invited_by", "accepted_by"]
    list_filter = ["team", "role"]
    search_fields = ["email", "team__name"]
    ordering = ["-created_at", "-pk"]
    actions = ["revoke"]
    autocomplete_fields = ["team"]
    form = InvitationForm
    add_fieldsets = [(None, {"fields": ["team", "role", "email", "days"]})]
    fields = [
        "team", "role", "email", "state_badge", "invited_by", "created_at", "expires_at",
        "accepted_by", "accepted_at", "revoked_at",
    ]  # fmt: skip

    @display(description="state", label=STATE_COLOURS)  # type: ignore[untyped-decorator]
    def state_badge(self, invitation: Invitation) -> str:
        return invitation.state().value

    def has_change_permission(self, request: HttpRequest, obj: Invitation | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Invitation | None = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Revoking is the one change there is, so it is what the permission to change an invitation allows."""
        return request.user.has_perm("accounts.change_invitation")

    def save_model(self, request: HttpRequest, obj: Invitation, form: Any, change: bool) -> None:
        issued = do_invite(
            obj.team,
            role=obj.role,
            email=obj.email,
            lifetime=timedelta(days=form.cleaned_data["days"]),
            acting_user=acting_user(request),
        )
        # The page goes on with `obj`: it becomes the row that was stored.
        obj.__dict__.update(issued.row.__dict__)
        # As with new keys: shown once, and no table holds it.
        link = absolute(issued.path, request)
        messages.warning(request, f"Copy the link now, it is never shown again: {link}")

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Nothing: what the invitation is was stored by its verb."""

    @admin.action(description="Revoke selected invitations", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Invitation]) -> None:
        done = [do_revoke_invitation(each, acting_user=acting_user(request)) for each in queryset.order_by("pk")]
        messages.success(request, f"{sum(done)} of {len(done)} invitations revoked; the others were over already.")
