"""What the tests of downloads share."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from inference import inspection
from tests.support.hub import FakeHub
from tests.support.hub_site import hub_site


@pytest.fixture
def hub(tmp_path: Path, settings: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with hub_site(tmp_path / "models", settings, monkeypatch) as running:
        yield running


SAID: dict[tuple[Any, ...], dict[str, Any]] = {}
"""What the engine has said of models, by what it was told."""


@pytest.fixture
def asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's own inspection, asked once of the same: importing MLX each time is most of what these tests take."""
    ask = inspection.ask_engine

    def asked(folder: Path, weights: int, options: Mapping[str, Any], *, kind: str, tokens: int) -> dict[str, Any]:
        key = ((folder / "config.json").read_bytes(), weights, str(options), kind, tokens)
        if key not in SAID:
            SAID[key] = ask(folder, weights, options, kind=kind, tokens=tokens)
        # Whoever gets it takes it apart.
        return {**SAID[key], **({"plan": dict(SAID[key]["plan"])} if "plan" in SAID[key] else {})}

    monkeypatch.setattr(inspection, "ask_engine", asked)
