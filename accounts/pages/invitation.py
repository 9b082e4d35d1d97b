"""Where an invitation's link leads: a new user is made, or the one that is signed in joins."""

from typing import Any

from allauth.account.utils import perform_login
from django import forms
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters
from django.views.generic import FormView

from accounts.invitations import do_accept_as_new_user, do_accept_invitation, invitation_of
from accounts.models import Invitation, User
from accounts.pages.private import private

SESSION_KEY = "invitation"


@private
def open_link(request: HttpRequest, token: str) -> HttpResponse:
    """Remembers which invitation it is and goes on under an address without the token. Nothing is accepted by looking:
    programs that preview links look, too."""
    found = invitation_of(token)
    if found is None:
        request.session.pop(SESSION_KEY, None)
    else:
        request.session[SESSION_KEY] = found.pk
    return redirect("invitation")


class NewUserForm(forms.Form):
    username = forms.CharField(
        label="Name", max_length=150, widget=forms.TextInput(attrs={"autocomplete": "username", "autofocus": True})
    )
    password1 = forms.CharField(
        label="Password", strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"})
    )
    password2 = forms.CharField(
        label="Password again", strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"})
    )

    def __init__(self, *args: Any, invitation: Invitation, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.invitation = invitation

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        if "password1" in given and "password2" in given:
            if given["password1"] != given["password2"]:
                raise ValidationError({"password2": "The two passwords differ."})
            user = User(username=given.get("username", ""), email=self.invitation.email)
            try:
                validate_password(given["password1"], user)
            except ValidationError as error:
                self.add_error("password1", error)
        return given

    def accept(self) -> User | None:
        """None: the form says why not."""
        given = self.cleaned_data
        try:
            return do_accept_as_new_user(self.invitation, username=given["username"], password=given["password1"])
        except ValidationError as error:
            self.add_error(None if not hasattr(error, "error_dict") else "username", error.messages)
            return None


class JoinForm(forms.Form):
    """Nothing to fill in: who joins is signed in."""

    def __init__(self, *args: Any, invitation: Invitation, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.invitation = invitation
        self.user = user

    def accept(self) -> User | None:
        """None: the form says why not."""
        try:
            do_accept_invitation(self.invitation, acting_user=self.user)
        except ValidationError as error:
            self.add_error(None, error.messages)
            return None
        return self.user


@method_decorator([private, sensitive_post_parameters()], name="dispatch")
class Invited(FormView):  # type: ignore[type-arg]
    template_name = "account/invitation.html"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        remembered: int = request.session.get(SESSION_KEY, 0)
        found = Invitation.objects.open().filter(pk=remembered).select_related("team", "invited_by").first()
        if found is None:
            return self.response_class(request, "account/invitation_over.html", {}, status=410)
        self.invitation = found
        return super().dispatch(request, *args, **kwargs)

    def get_form_class(self) -> type[NewUserForm | JoinForm]:
        return JoinForm if self.request.user.is_authenticated else NewUserForm

    def get_form_kwargs(self) -> dict[str, Any]:
        signed_in = {"user": self.request.user} if self.request.user.is_authenticated else {}
        return {**super().get_form_kwargs(), "invitation": self.invitation, **signed_in}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(invitation=self.invitation, **kwargs)

    def form_valid(self, form: NewUserForm | JoinForm) -> HttpResponse:
        user = form.accept()
        if user is None:
            return self.form_invalid(form)
        self.request.session.pop(SESSION_KEY, None)
        if self.request.user.is_authenticated:
            return redirect("account")
        response: HttpResponse = perform_login(self.request, user)
        return response
