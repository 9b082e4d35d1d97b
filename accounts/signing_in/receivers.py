"""Second factors in the audit log.

allauth adds and removes them itself and says so afterwards, by signals alone; nothing else happens here.
"""

from typing import Any

from allauth.account.adapter import get_adapter
from allauth.mfa import signals
from allauth.mfa.models import Authenticator
from django.http import HttpRequest

from accounts import audit
from accounts.models import User


def connect() -> None:
    signals.authenticator_added.connect(_added, dispatch_uid="accounts.audit")
    signals.authenticator_removed.connect(_removed, dispatch_uid="accounts.audit")
    signals.authenticator_reset.connect(_renewed, dispatch_uid="accounts.audit")
    signals.authentication_failed.connect(_failed, dispatch_uid="accounts.audit")


def _added(user: User, authenticator: Authenticator, **more: Any) -> None:
    audit.record("user.second_factor_added", user, acting_user=user, after={"factors": [authenticator.type]})


def _removed(user: User, authenticator: Authenticator, **more: Any) -> None:
    audit.record("user.second_factor_removed", user, acting_user=user, before={"factors": [authenticator.type]})


def _renewed(user: User, authenticator: Authenticator, **more: Any) -> None:
    audit.record("user.recovery_codes_renewed", user, acting_user=user)


def _failed(request: HttpRequest, user: User, **more: Any) -> None:
    audit.record_failed_sign_in(user, reason="wrong code", address=get_adapter().get_client_ip(request))
