"""Signing in at somebody else's: OpenID Connect."""

from typing import Any, NoReturn

from allauth.account.adapter import get_adapter as account_adapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialLogin
from allauth.socialaccount.providers.base import AuthProcess
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest

from accounts import audit
from accounts.models import User
from accounts.services import do_create_user
from accounts.signing_in.refusals import refused

UNKNOWN = "Nobody here has your e-mail address. Ask an admin to invite you, or to write this address into your user."


class SingleSignOnAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """Who comes for the first time is known by a verified e-mail address, from then on by the provider's own id.

    The addresses of our users are an admin's word: nobody can change their own.
    """

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        """Never by allauth's form; see below."""
        return False

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        if sociallogin.state.get("process", AuthProcess.LOGIN) != AuthProcess.LOGIN:
            _refuse(request, None, "Only signing in is possible this way.", "no sign-in")
        if sociallogin.is_existing:
            return
        email = _verified_email(sociallogin)
        if not email:
            _refuse(request, None, f"{settings.OIDC_NAME} does not vouch for your e-mail address.", "unverified e-mail")
        # Databases find letters alike that are not, such as a dotless i: whoever owns that domain is somebody else.
        users = [
            user
            for user in User.objects.filter(email__iexact=email).order_by("pk")
            if user.email.lower() == email.lower()
        ]
        if len(users) > 1:
            _refuse(request, None, "Several users here have your e-mail address; ask an admin.", "ambiguous e-mail")
        if not users and not settings.OIDC_SIGNUP:
            _refuse(request, None, UNKNOWN, "unknown e-mail")
        if users and not users[0].is_active:
            _refuse(request, users[0], "Your user is inactive; ask an admin.", "inactive user")
        with transaction.atomic():
            user = users[0] if users else _sign_up(sociallogin.user.username, email)
            if user is not None:
                sociallogin.connect(request, user)
                after = {"provider": sociallogin.account.provider}
                audit.record("user.connected", user, acting_user=user, after=after)
        if user is None:
            _refuse(request, None, "There is a user of your name already; ask an admin.", "name is taken")

    def on_authentication_error(
        self, request: HttpRequest, provider: Any, error: Any = None, exception: Any = None, extra_context: Any = None
    ) -> None:
        audit.record_failed_sign_in(
            None, reason=f"{settings.OIDC_NAME} failed", address=account_adapter().get_client_ip(request)
        )


def _verified_email(sociallogin: SocialLogin) -> str:
    """Empty: there is none."""
    # Some providers send the word. Anything else that Python takes for true, such as "false", is not.
    addresses = [address for address in sociallogin.email_addresses if address.verified in (True, "true")]
    return addresses[0].email if addresses else ""


def _sign_up(name: str, email: str) -> User | None:
    """A plain user without a team and without a password, called as at the provider, or else by the address. None:
    both are taken or can't be."""
    for username in (name, email):
        try:
            with transaction.atomic():
                return do_create_user(username, password=None, email=email, acting_user=None)
        except ValidationError:
            continue
    return None


def _refuse(request: HttpRequest, user: User | None, why: str, reason: str) -> NoReturn:
    audit.record_failed_sign_in(user, reason=reason, address=account_adapter().get_client_ip(request))
    raise ImmediateHttpResponse(refused(request, why))
