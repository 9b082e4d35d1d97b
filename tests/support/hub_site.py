"""A fake hub that this process takes for Hugging Face's, and a folder for what comes from it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
from huggingface_hub import constants

from inference.hub import client
from tests.support.hub import FakeHub, fake_hub


@contextmanager
def hub_site(folder: Path, settings: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with fake_hub() as hub:
        # huggingface_hub reads its environment once, when it is imported.
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("ATELIER_MODEL_DIR", str(folder))
        settings.DOWNLOAD_TIMEOUT_SECONDS = 5.0  # type: ignore[attr-defined]
        settings.DOWNLOAD_RETRIES = 2  # type: ignore[attr-defined]
        # The real pauses, only shorter: half a second to a minute is for the web.
        with mock.patch.object(client, "LONGEST_PAUSE", 0.01):
            yield hub
