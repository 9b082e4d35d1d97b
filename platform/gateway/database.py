"""Threads that keep their database connection, for the two statements that every request needs.

Opening a connection costs more than such a statement; and on SQLite closing the last one checkpoints the write-ahead
log with an fsync, 10 ms a time.
"""

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError, connection, connections

P = ParamSpec("P")
T = TypeVar("T")

POSTGRESQL_THREADS = 4


class DatabaseThreads:
    """Belongs to one event loop; to be closed."""

    def __init__(self, most: int = POSTGRESQL_THREADS) -> None:
        """most: threads, and so connections, where several are of use."""
        # SQLite has one writer at a time anyway; on PostgreSQL the statements of several requests overlap.
        count = 1 if connection.vendor == "sqlite" else most
        self._threads = [ThreadPoolExecutor(1, "database") for _ in range(count)]
        self._turn = itertools.cycle(self._threads)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `work`, done in the next thread. Raises what it raises."""
        call = partial(_with_connection, partial(work, *args, **kwargs))
        return await asyncio.get_running_loop().run_in_executor(next(self._turn), call)

    def close(self) -> None:
        """After the work that was asked for; waits for it."""
        for thread in self._threads:
            thread.submit(connections.close_all)
            thread.shutdown()


def _with_connection(work: Callable[[], T]) -> T:
    try:
        return work()
    except (OperationalError, InterfaceError):
        # It may be the connection that broke; the next request gets a new one.
        connection.close()
        raise
