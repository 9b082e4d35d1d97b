"""Answers whose address or content is a secret."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.views.decorators.cache import never_cache

View = Callable[..., HttpResponseBase]


def private(view: View) -> View:
    """No cache keeps the answer, and nobody is told of an address that leads on to another one. Pages are told of
    themselves: a browser that may not say where a form came from says `null`, which is refused as another site's."""

    @wraps(view)
    @never_cache
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = view(request, *args, **kwargs)
        if 300 <= response.status_code < 400:
            response["Referrer-Policy"] = "no-referrer"
        return response

    return guarded
