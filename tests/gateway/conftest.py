"""The application in the tests' own process, with a real database and a scripted engine, for what needs a fault at a
chosen moment. Everything else runs against the `server` of tests/conftest.py, which two kinds of client ask here."""

import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import openai
import pytest
from channels.db import database_sync_to_async

from accounts.services import do_create_user, do_issue_key
from gateway import runtime
from inference.models import Deployment, Engine, Model
from inference.services import endpoint_of
from tests.gateway.local import LocalGateway
from tests.support.audio_made import make_pocket, make_whisper
from tests.support.server import Server


@pytest.fixture
async def gateway(transactional_db: None) -> AsyncIterator[LocalGateway]:
    def prepare() -> tuple[str, str]:
        user = do_create_user("gwen", acting_user=None, password=None)
        model = Model.objects.create(name="scripted", source="builtin:scripted", aliases=["alias", "team/scripted"])
        deployment = Deployment.objects.create(model=model, host=socket.gethostname())
        Engine.objects.create(deployment=deployment, endpoint=endpoint_of(deployment), state=Engine.State.READY)
        return do_issue_key(user, note="", acting_user=None).raw, endpoint_of(deployment)

    yield LocalGateway(*await database_sync_to_async(prepare)())
    await runtime.current().close()


@pytest.fixture(scope="session")
def audio_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("audio-models")
    return {"hears": make_whisper(folder / "hears"), "speaks": make_pocket(folder / "speaks")}


@pytest.fixture(scope="session")
def audio_server(tmp_path_factory: pytest.TempPathFactory, audio_folders: dict[str, Path]) -> Iterator[Server]:
    """A chat model, one that transcribes and one that speaks; sounds may have 1 MB."""
    models = ["atelier-tiny", *map(str, audio_folders.values())]
    with Server(tmp_path_factory.mktemp("audio"), *models, ATELIER_MAX_AUDIO_MB="1") as running:
        yield running


@pytest.fixture
def sdk(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.base_url}/v1", api_key=server.key, max_retries=0)


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client
