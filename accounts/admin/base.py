"""What the admin pages share."""

from typing import Any, cast

from django.http import HttpRequest
from unfold.admin import ModelAdmin

from accounts.models import User


def acting_user(request: HttpRequest) -> User:
    """Who does it. Admin views let nobody in who is not signed in."""
    return cast(User, request.user)


class Admin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """Cheap lists: no second COUNT over the whole table."""

    show_full_result_count = False
    list_per_page = 50


class ReadOnlyAdmin(Admin):
    """For what is written elsewhere and only read here."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
