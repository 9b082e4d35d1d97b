"""Threads that keep their database connection, for the two statements that every request needs.

Opening a connection costs more than such a statement; and on SQLite closing the last one checkpoints the write-ahead
log with an fsync, 10 ms a time.
"""

import asyncio
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
        self._busy = dict.fromkeys(self._threads, 0)
        """By thread, how much it has to do."""

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `work`, done in the thread that has least to do. Raises what it raises."""
        thread = min(self._threads, key=lambda each: self._busy[each])
        call = partial(_with_connection, partial(work, *args, **kwargs))
        doing = asyncio.get_running_loop().run_in_executor(thread, call)
        self._busy[thread] += 1
        # Of one that was cancelled the thread may still do something: then its next work waits a little.
        doing.add_done_callback(partial(self._done, thread))
        return await doing

    def _done(self, thread: ThreadPoolExecutor, _: asyncio.Future[T]) -> None:
        self._busy[thread] -= 1

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
