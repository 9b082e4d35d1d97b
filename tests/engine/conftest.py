"""What tests of several files share: an embedding model that none of them changes, and a client of engine processes."""

import uuid
from collections.abc import AsyncIterator

import pytest

from inference.client import EngineClient
from inference.engine.encoder import load
from inference.engine.encoder.encoder import Encoder
from tests.support.encoders_made import make_embedder


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = make_embedder(tmp_path_factory.mktemp("bert"))
    return load.load_encoder(str(folder), "bert", "embedding")


@pytest.fixture
async def client() -> AsyncIterator[EngineClient]:
    client = EngineClient(f"test-{uuid.uuid4().hex}")
    yield client
    await client.close()
