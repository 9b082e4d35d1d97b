"""Links that people hand on: to invitations, and to pages for a new password."""

from django.conf import settings
from django.http import HttpRequest


def absolute(path: str, request: HttpRequest | None = None) -> str:
    """A path as an address: under ATELIER_PUBLIC_URL; without it, as the request reached us, or on this machine."""
    if settings.PUBLIC_URL:
        return f"{settings.PUBLIC_URL}{path}"
    return request.build_absolute_uri(path) if request else f"http://localhost:{settings.PORT}{path}"
