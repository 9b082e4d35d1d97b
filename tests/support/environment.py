"""A pytest plugin that comes before Django's: the settings of the tests' own process.

Settings are read once, at import, so the data folder and the services are chosen here. With
ATELIER_TEST_SERVICES=1 the tests of the application in this process run on a private PostgreSQL and a private Redis
instead of SQLite and memory; those of whole servers, which choose for themselves, are left out.
"""

import atexit
import os
import shutil
import tempfile

import pytest

from tests.support.services import postgresql_server, redis_server

folder = tempfile.mkdtemp(prefix="atelier-tests-")
atexit.register(shutil.rmtree, folder, ignore_errors=True)
for name in [name for name in os.environ if name.startswith("ATELIER_") and not name.startswith("ATELIER_TEST_")]:
    del os.environ[name]
os.environ["ATELIER_DATA_DIR"] = folder
os.environ.pop("DATABASE_URL", None)

WITH_SERVICES = bool(os.environ.get("ATELIER_TEST_SERVICES"))
OF_SERVERS = {"server", "own", "shared", "mortal", "saved"}
"""Fixtures that are whole servers."""

if WITH_SERVICES:
    for name, service in (("DATABASE_URL", postgresql_server()), ("ATELIER_REDIS_URL", redis_server())):
        os.environ[name] = service.__enter__()
        atexit.register(service.__exit__, None, None, None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not WITH_SERVICES:
        return
    others = [item for item in items if OF_SERVERS & set(getattr(item, "fixturenames", ()))]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]
