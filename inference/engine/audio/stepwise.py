"""Functions that take long, taken apart into steps from inside."""

from collections.abc import Callable, Generator
from typing import TypeVar

from greenlet import getcurrent, greenlet

R = TypeVar("R")


def pause() -> None:
    """Called somewhere below `stepwise`'s function: the caller of the generator has its turn. Elsewhere nothing."""
    outer = getcurrent().parent
    if outer is not None:
        outer.switch()


def stepwise(call: Callable[[], R]) -> Generator[None, None, R]:
    """Runs `call` on a stack of its own, in the same thread, as MLX's arrays want it: the generator yields where `call`
    pauses, and returns what it returns. Closed early, it unwinds `call` from where that stands."""
    inner = greenlet(call)
    try:
        result = inner.switch()
        while not inner.dead:
            yield
            # Whoever goes on with it need not be who began it.
            inner.parent = getcurrent()
            result = inner.switch()
        return result  # type: ignore[no-any-return]  # what a greenlet's last switch returns is what its function did
    finally:
        if not inner.dead:
            inner.throw()
