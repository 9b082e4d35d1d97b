"""An embedding model that many tests read with, and none changes."""

import pytest

from inference.engine.encoder import load
from inference.engine.encoder.encoder import Encoder
from tests.support.encoders_made import make_embedder


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = make_embedder(tmp_path_factory.mktemp("bert"))
    return load.load_encoder(str(folder), "bert", "embedding")
