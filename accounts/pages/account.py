"""One's own page, and the way to the admin."""

from typing import Any, cast

from allauth.account.utils import get_next_redirect_url
from allauth.mfa.utils import is_mfa_enabled
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.generic import TemplateView

from accounts.models import User
from accounts.pages.private import private


@method_decorator(private, name="dispatch")
class AccountPage(LoginRequiredMixin, TemplateView):
    template_name = "account/index.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = cast(User, self.request.user)
        return super().get_context_data(
            memberships=user.memberships.select_related("team").order_by("team__name"),
            has_second_factor=is_mfa_enabled(user),
            **kwargs,
        )


def admin_login(request: HttpRequest) -> HttpResponse:
    """Who is signed in and yet was sent here may not see the admin: their own page is for them."""
    if not request.user.is_authenticated:
        return redirect_to_login(get_next_redirect_url(request) or reverse("admin:index"))
    if request.user.is_staff:
        return redirect(get_next_redirect_url(request) or "admin:index")
    return redirect("account")
