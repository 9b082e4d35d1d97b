"""Clients in their own environments, asking one server."""

from collections.abc import Callable
from functools import cache

import pytest

from tests.clients.running import Client, run
from tests.support.server import Server


@pytest.fixture(scope="session")
def run_client(seeing: Server, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Client]:
    """What the client of this name saw; it is run once a session."""

    @cache
    def once(name: str) -> Client:
        return run(name, seeing, tmp_path_factory.mktemp(name))

    return once
