"""What the tests of downloads share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub import FakeHub
from tests.support.hub_site import hub_site


@pytest.fixture
def hub(tmp_path: Path, settings: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with hub_site(tmp_path / "models", settings, monkeypatch) as running:
        yield running
