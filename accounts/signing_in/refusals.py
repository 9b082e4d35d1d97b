"""Pages that say why somebody was not let in."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def too_many_attempts(request: HttpRequest, seconds: int) -> HttpResponse:
    """seconds: until it is worth trying again."""
    minutes = -(-seconds // 60)
    page = render(request, "429.html", {"minutes": minutes}, status=429)
    page["Retry-After"] = str(seconds)
    return page


def too_many_requests(request: HttpRequest) -> HttpResponse:
    """For every other limit of allauth's; they are all for a minute."""
    return too_many_attempts(request, 60)


def refused(request: HttpRequest, why: str, *, status: int = 403) -> HttpResponse:
    return render(request, "account/refused.html", {"why": why}, status=status)
