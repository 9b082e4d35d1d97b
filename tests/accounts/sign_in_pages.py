"""What the tests of signing in share."""

from typing import Any

from django.core.cache import cache
from django.test import Client

from accounts.models import AuditEvent, User

LOGIN = "/account/login/"


def sign_in(client: Client, name: str, password: str, **extra: Any) -> Any:
    return client.post(LOGIN, {"login": name, "password": password}, **extra)


def signed_in_as(client: Client) -> User | None:
    """Whom the browser's session is of, as a page finds out."""
    user = client.get("/account/").wsgi_request.user
    return user if isinstance(user, User) else None


def acts(*, but: tuple[str, ...] = ("user.created", "team.created", "member.added")) -> list[str]:
    """What the audit log holds, the oldest first."""
    return [
        action for action in AuditEvent.objects.order_by("pk").values_list("action", flat=True) if action not in but
    ]


def later() -> None:
    """Counters of failed sign-ins have ended."""
    cache.clear()
