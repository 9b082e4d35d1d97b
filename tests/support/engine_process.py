"""A real engine process, for what is to be spoken to in its own protocol."""

import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inference.supervisor import engine_environment
from tests.support.server import ROOT


@contextmanager
def engine_process(model: Path | str, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Its endpoint, in a folder short enough for a socket, and the process."""
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:
        endpoint = f"ipc://{folder}/{uuid.uuid4().hex[:8]}"
        process = subprocess.Popen(
            [sys.executable, "-m", "inference.engine", "--model", str(model), "--name", "made", "--endpoint", endpoint,
             *arguments],
            env=engine_environment(), cwd=ROOT,
        )  # fmt: skip
        try:
            yield endpoint, process
        finally:
            process.kill()
            process.wait()
