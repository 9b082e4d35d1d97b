"""Running a client's script inside the client's environment, against our server."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients import cells
from tests.clients.environments import CLIENTS, Environment
from tests.clients.matrix import MATRIX
from tests.support.pictures import data_url, picture
from tests.support.server import Server

RUN_SECONDS = 240


@dataclass(frozen=True)
class Client:
    """What a client saw of our server."""

    report: dict[str, Any]

    def saw(self, cell: str) -> Any:
        """What this cell of its script reported; fails with the script's traceback where there is none."""
        if cell in self.report["failed"]:
            pytest.fail(self.report["failed"][cell], pytrace=False)
        return self.report["saw"][cell]


def variables(server: Server, home: Path) -> dict[str, str]:
    """The environment of a client: nothing of this machine's but the search path."""
    red, blue = data_url(picture("red", "circle")), data_url(picture("blue", "square"))
    shared = {name: value for name, value in vars(cells).items() if name.isupper()} | {"RED": red, "BLUE": blue}
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(CLIENTS),
        "CLIENT_BASE_URL": server.base_url,
        "CLIENT_KEY": server.key,
        "CLIENT_MODEL": "default",
        "CLIENT_RED": red,
        "CLIENT_BLUE": blue,
        "CLIENT_CELLS": json.dumps(shared),
    }


def run(name: str, server: Server, home: Path) -> Client:
    """Builds the client's environment where that is due, and runs all cells of its script."""
    environment = Environment(name)
    environment.ensure()
    done = subprocess.run(
        environment.command(script_of(name)), env=variables(server, home), cwd=home, capture_output=True, text=True,
        timeout=RUN_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    MATRIX.versions[name] = report["version"]
    return Client(report)


def script_of(name: str) -> Path:
    """The last 1.x of OpenAI's SDK and the newest are asked in the same words."""
    folder = CLIENTS / ("openai-python" if name == "openai-python-1" else name)
    [script] = folder.glob("client.*")
    return script
