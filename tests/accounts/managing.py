"""Who asks the management API."""

import json
from collections.abc import Callable
from typing import Any

from django.test import Client

from accounts.models import User
from accounts.services import (
    IssuedKey,
    do_issue_key,
)

Ask = Callable[..., Any]
CHECKED = {"enforce_csrf_checks": True}


def by_key(key: IssuedKey) -> Ask:
    return by_header(f"Bearer {key.raw}")


def by_header(authorization: str) -> Ask:
    """A program: it has no cookies."""

    def ask(method: str, path: str, body: Any = None, **options: Any) -> Any:
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return Client(**CHECKED).generic(
            method, f"/api/{path}", content, content_type="application/json",
            headers={"authorization": authorization}, **options,
        )  # fmt: skip

    return ask


def managing_key(user: User, **options: Any) -> IssuedKey:
    return do_issue_key(user, scopes=["manage"], acting_user=None, **options)
