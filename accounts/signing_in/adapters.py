"""Passwords and second factors. allauth calls these; its settings name them."""

import logging
import math
import time
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.login import get_authentication_records
from allauth.account.internal.userkit import get_user_by_username
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.core.internal import ratelimit
from allauth.mfa.adapter import DefaultMFAAdapter
from cryptography.fernet import Fernet, InvalidToken
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.crypto import salted_hmac
from django.utils.http import url_has_allowed_host_and_scheme, urlsafe_base64_encode

from accounts import audit
from accounts.addresses import client_address
from accounts.models import User
from accounts.services import do_set_password
from accounts.signing_in.refusals import too_many_attempts

logger = logging.getLogger(__name__)

APP = "allauth.account"
FAILED = "login_failed"
QUIET = {"account/messages/logged_in.txt", "account/messages/logged_out.txt"}
"""What the page that follows says anyway."""


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no types
    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "username_password_mismatch": "No user has this name and this password.",
        # Of codes; passwords have a page of their own for it.
        "too_many_login_attempts": "Too many wrong codes. Try again in five minutes.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Never: people are invited, or made by an admin."""
        return False

    def is_safe_url(self, url: str) -> bool:
        """Whether a sign-in may lead there: to us alone, where allauth allows other ports and names of this machine."""
        request = context.request
        return url_has_allowed_host_and_scheme(url, {request.get_host()}, require_https=request.is_secure())

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        assert isinstance(request.user, User)
        return reverse("admin:index" if request.user.is_staff else "account")

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return reverse("account")

    def add_message(
        self, request: HttpRequest, level: int, message_template: str | None = None, *args: Any, **kwargs: Any
    ) -> None:
        if message_template not in QUIET:
            super().add_message(request, level, message_template, *args, **kwargs)

    # --- Throttling

    def get_client_ip(self, request: HttpRequest) -> str:
        """Those of whom nobody knows where they are share one counter."""
        forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
        return str(client_address(request.META.get("REMOTE_ADDR") or "", [forwarded]) or "unknown")

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        # allauth counts for each host name and port that a client cares to put into its Host header.
        return str(credentials.get("username", "")).lower()

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        name = self._get_login_attempts_cache_key(request, **credentials)
        self._login_failed_rl_usage = ratelimit.consume(request, app=APP, action=FAILED, key=name)
        if not self._login_failed_rl_usage:
            logger.warning("Too many failed sign-ins; the last came from %s", self.get_client_ip(request))
            raise ImmediateHttpResponse(too_many_attempts(request, _wait(request, name)))

    # --- What the audit log holds

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        # What was typed may be a password in the wrong field: only a user's name is recorded.
        user = get_user_by_username(str(credentials.get("username", "")))
        audit.record_failed_sign_in(user, reason="wrong password", address=self.get_client_ip(request))

    def respond_user_inactive(self, request: HttpRequest, user: User) -> HttpResponse:
        audit.record_failed_sign_in(user, reason="inactive user", address=self.get_client_ip(request))
        return redirect("account_inactive")

    def login(self, request: HttpRequest, user: User) -> None:
        methods = [record["method"] for record in get_authentication_records(request, user)]
        super().login(request, user)
        after = {"methods": methods, "address": self.get_client_ip(request)}
        audit.record("user.signed_in", user, acting_user=user, after=after)

    def logout(self, request: HttpRequest) -> None:
        if isinstance(request.user, User):
            audit.record("user.signed_out", request.user, acting_user=request.user)
        super().logout(request)

    def set_password(self, user: User, password: str) -> None:
        do_set_password(user, password, acting_user=user)


class MfaAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # allauth has no types
    """Keeps secrets of second factors encrypted: whoever reads a backup of the database can't make codes."""

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "unreadable": "ATELIER_SECRET_KEY has changed, so your second factor can't be read; ask an admin to remove it.",
    }

    def encrypt(self, text: str) -> str:
        return _cipher().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        try:
            return _cipher().decrypt(encrypted_text.encode()).decode()
        except InvalidToken:
            raise self.validation_error("unreadable") from None


def _cipher() -> Fernet:
    return Fernet(urlsafe_base64_encode(salted_hmac("accounts.mfa", "", algorithm="sha256").digest()) + "=")


def _wait(request: HttpRequest, name: str) -> int:
    """Seconds until the next attempt is let in."""
    now, wait = time.time(), 1.0
    for rate in ratelimit.get_rates(app=APP, action=FAILED):
        attempts = cache.get(ratelimit.get_cache_key(request, app=APP, action=FAILED, rate=rate, key=name), [])
        # The latest comes first.
        if len(attempts) >= rate.amount:
            wait = max(wait, attempts[rate.amount - 1] + rate.duration - now)
    return math.ceil(wait)
