"""The threads that keep their connection."""

import threading

import pytest
from django.db import OperationalError, connection, connections

from accounts.models import Team
from gateway.database import DatabaseThreads


@pytest.fixture
def database(transactional_db):
    threads = DatabaseThreads()
    yield threads
    threads.close()


def where() -> tuple[int, int]:
    """The thread, and its connection to the database, which has answered."""
    Team.objects.count()
    return threading.get_ident(), id(connection.connection)


async def test_a_threads_connection_is_kept(database):
    places = [await database.run(where) for _ in range(12)]
    assert len({thread for thread, _ in places}) == len(set(places)), "each thread has one connection, always the same"
    assert threading.get_ident() not in {thread for thread, _ in places}


async def test_arguments_and_errors_pass_through(database):
    assert await database.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await database.run(divmod, 7, 0)


async def test_a_connection_that_broke_is_replaced(database):
    def breaks():
        Team.objects.count()
        raise OperationalError("server closed the connection unexpectedly")

    threads = len(database._threads)
    for _ in range(threads):
        with pytest.raises(OperationalError):
            await database.run(breaks)
        # The same thread's turn again, after all others.
        for _ in range(threads - 1):
            await database.run(where)
    assert all(place for _, place in [await database.run(where) for _ in range(threads)])


async def test_closing_leaves_no_connection(transactional_db):
    threads = DatabaseThreads()
    seen = [await threads.run(lambda: connections["default"]) for _ in range(len(threads._threads))]
    await threads.run(where)
    threads.close()
    assert [each for each in seen if each.connection is not None] == []
