"""What is done to users from their list, each by a verb."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from accounts.admin.base import Admin, acting_user
from accounts.links import absolute
from accounts.models import User
from accounts.offboarding import do_offboard_user
from accounts.recovery import do_make_reset_link, do_remove_second_factor


class UserActions(Admin):
    @admin.action(description="Make a link for a new password", permissions=["change"])
    def reset_link(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in self._allowed(request, queryset):
            try:
                link = absolute(do_make_reset_link(user, acting_user=acting_user(request)), request)
            except ValidationError as error:
                messages.error(request, " ".join(error.messages))
                continue
            # As with new keys: shown once, and no table holds it.
            messages.warning(request, f"Copy the link for {user.username} now, it is never shown again: {link}")

    @admin.action(description="Remove the second factor", permissions=["change"])
    def remove_second_factor(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in self._allowed(request, queryset):
            if do_remove_second_factor(user, acting_user=acting_user(request)):
                messages.success(request, f"{user.username} signs in without a second factor now.")
            else:
                messages.info(request, f"{user.username} has no second factor.")

    @admin.action(description="Offboard…", permissions=["change"])
    def offboard(self, request: HttpRequest, queryset: QuerySet[User]) -> HttpResponse | None:
        users = self._allowed(request, queryset)
        if not users:
            return None
        if "confirmed" not in request.POST:
            context: dict[str, Any] = {
                **self.admin_site.each_context(request),
                "title": "Offboard users",
                "opts": self.model._meta,
                "users": users,
            }
            return TemplateResponse(request, "admin/accounts/offboard.html", context)
        for user in users:
            try:
                done = do_offboard_user(user, acting_user=acting_user(request))
            except ValidationError as error:
                messages.error(request, " ".join(error.messages))
            else:
                messages.success(request, f"{user.username} is out; {done.keys} keys were revoked.")
        return None

    def _allowed(self, request: HttpRequest, queryset: QuerySet[User]) -> list[User]:
        """Actions ask for the permission alone; a superuser is for superusers."""
        users = list(queryset.order_by("pk"))
        allowed = [user for user in users if self.has_change_permission(request, user)]
        if len(allowed) < len(users):
            messages.error(request, "Only a superuser may do this to a superuser.")
        return allowed
