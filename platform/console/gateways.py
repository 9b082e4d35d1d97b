"""What pages ask of the gateway process that they run in."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from asgiref.sync import async_to_sync
from django.http import HttpRequest

from gateway import runtime
from inference.client import SCOPE_KEY

T = TypeVar("T")


def ask(request: HttpRequest, question: Callable[["runtime.Runtime"], Coroutine[Any, Any, T]]) -> T | None:
    """The answer, from the event loop that the gateway's connections belong to; None in a process that is no gateway:
    there is nobody to ask."""
    if SCOPE_KEY not in getattr(request, "scope", {}):
        return None

    async def answer() -> T:
        return await question(runtime.current())

    return async_to_sync(answer)()
