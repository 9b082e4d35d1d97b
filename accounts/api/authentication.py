"""Who asks: a browser's session, with its CSRF token, or an API key with the scope `manage`."""

from typing import Any

from django.http import HttpRequest
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from accounts import keys
from accounts.addresses import client_address
from accounts.authentication import Principal, load_principal
from accounts.models import Scope, User

WRONG = "Incorrect API key: mistyped, revoked or expired."


class KeyAuthentication(BaseAuthentication):  # type: ignore[misc]  # has no types; so the others
    """`Authorization: Bearer` or `x-api-key`. `request.auth` is the Principal."""

    def authenticate(self, request: Request) -> tuple[User, Principal] | None:
        raw = given_key(request)
        if raw is None:
            return None
        principal = load_principal(keys.digest(raw)) if keys.is_well_formed(raw) else None
        user = None if principal is None else User.objects.filter(pk=principal.user_id).first()
        if principal is None or user is None:
            raise AuthenticationFailed(WRONG)
        if Scope.MANAGE not in principal.scopes:
            raise PermissionDenied(f"This API key lacks the scope `{Scope.MANAGE}`; have one issued with it.")
        if principal.networks and not principal.may_come_from(address_of(request)):
            raise PermissionDenied("This API key may not be used from your network.")
        return user, principal

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class PersonAuthentication(SessionAuthentication):  # type: ignore[misc]
    """A session of the admin or of the other pages. Its CSRF token is asked for, except to read."""

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        found: tuple[User, None] | None = super().authenticate(request)
        return None if found is None or found[0].is_service_account() else found


def given_key(request: Request) -> str | None:
    """None: it comes without one."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return str(token).strip()
    given = request.headers.get("x-api-key")
    return None if given is None else str(given).strip()


def address_of(request: HttpRequest) -> Any:
    """Where it comes from; None where nobody knows."""
    return client_address(request.META.get("REMOTE_ADDR") or "", [request.META.get("HTTP_X_FORWARDED_FOR", "")])


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[misc]
    """As the document calls the same two headers under `/v1`."""

    target_class = KeyAuthentication
    name = ["bearer", "x-api-key"]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        return [{"type": "http", "scheme": "bearer"}, {"type": "apiKey", "in": "header", "name": "x-api-key"}]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[str]]]:
        """One of them is enough."""
        return [{name: []} for name in self.name]


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[misc]
    target_class = PersonAuthentication
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid", "description": "And its CSRF token to change."}
