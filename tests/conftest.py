"""Servers that many tests share, started once a session."""

import os
from collections.abc import Iterator

import hypothesis
import pytest
from django.db import connections

from tests.support.pictures_host import Web, pictures_on_the_web
from tests.support.server import Server
from tests.support.services import redis_server

# CI tries the same examples every time; a developer's machine looks for new ones.
hypothesis.settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An Atelier with its defaults: the built-in model, SQLite, no Redis. Tests leave it running and unharmed."""
    with Server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def web() -> Iterator[Web]:
    with pictures_on_the_web() as web:
        yield web


@pytest.fixture(scope="session")
def seeing(tmp_path_factory: pytest.TempPathFactory, web: Web) -> Iterator[Server]:
    """Both built-in models, that for text the default. It may fetch from one host of this machine."""
    models = ("atelier-tiny", "atelier-tiny-vl")
    limits = {"ATELIER_ALLOW_MEDIA_HOSTS": web.listed.name, "ATELIER_MEDIA_TIMEOUT": "5"}
    with Server(tmp_path_factory.mktemp("seeing") / "data", *models, **limits) as running:
        yield running


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory, django_db_modify_db_settings: None) -> None:
    """A file instead of SQLite's shared memory: there, threads do not wait for each other's locks but fail."""
    if connections["default"].vendor == "sqlite":
        name = str(tmp_path_factory.mktemp("database") / "test.sqlite3")
        connections["default"].settings_dict["TEST"]["NAME"] = name
