"""Awaiting something to its end, even while being cancelled."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
AGAIN_SECONDS = 0.5


async def insist(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which runs to its end whatever happens to the caller.

    A caller that is cancelled meanwhile stays until the end as well, and raises CancelledError then.
    """
    task = asyncio.ensure_future(work)
    try:
        await finished(task)
    except asyncio.CancelledError:
        if not task.cancelled():
            task.exception()  # seen: the cancellation is what the caller gets
        raise
    return task.result()


async def finished(task: asyncio.Future[Any], *, pass_on: bool = False) -> None:
    """Wait until `task` is done, whatever it ends with. Being cancelled meanwhile is raised then, and with `pass_on`
    cancels the task at once."""
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
            if pass_on:
                task.cancel()
    if cancelled:
        raise asyncio.CancelledError


async def cancelled(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancels them and waits until they have ended, whatever they end with. Who has not after a moment is cancelled
    again: `asyncio.wait_for` of Python 3.11, which redis-py connects and sends by, may lose a cancellation."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=AGAIN_SECONDS)
        for task in done:
            if not task.cancelled():
                task.exception()  # seen: nobody waits for what they say
