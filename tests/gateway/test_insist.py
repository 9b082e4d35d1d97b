"""What is waited for to its end."""

import asyncio

from gateway.insist import cancelled


async def test_a_cancellation_that_is_lost_comes_again() -> None:
    lost = 0

    async def deaf() -> None:
        """As a library that takes the first cancellation for its own timeout."""
        nonlocal lost
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            lost += 1
        await asyncio.sleep(3600)

    async def broken() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise RuntimeError("not ours to tell")

    tasks = [asyncio.ensure_future(work()) for work in (deaf, broken, deaf)]
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await cancelled(tasks)
    assert lost == 2 and all(task.done() for task in tasks)


async def test_of_none_nothing_is_waited_for() -> None:
    await cancelled([])
