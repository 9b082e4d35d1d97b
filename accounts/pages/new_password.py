"""Where a link for a new password leads."""

from typing import Any, cast

from django.contrib import messages
from django.contrib.auth.forms import SetPasswordForm
from django.contrib.auth.views import PasswordResetConfirmView
from django.urls import reverse_lazy
from django.utils.decorators import method_decorator

from accounts.models import User
from accounts.pages.private import private
from accounts.services import do_set_password


class NewPasswordForm(SetPasswordForm):  # type: ignore[type-arg]
    def save(self, commit: bool = True) -> User:
        user = cast(User, self.user)
        do_set_password(user, self.cleaned_data["new_password1"], acting_user=user)
        return user


@method_decorator(private, name="dispatch")
class NewPassword(PasswordResetConfirmView):
    """Keeps the token in the session and goes on under an address without it, so that no page knows it."""

    template_name = "account/new_password.html"
    form_class = NewPasswordForm
    success_url = reverse_lazy("account_login")

    def get_user(self, uidb64: str) -> Any:
        user = super().get_user(uidb64)
        return user if user is not None and user.is_active else None

    def form_valid(self, form: Any) -> Any:
        messages.success(self.request, "Your password is set. Sign in with it.")
        return super().form_valid(form)
