"""A virtual environment for each peer, with the MLX that Atelier itself runs on."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tests.benchmarks.peers import BUILD

PACKAGES = {"mlx-lm": "0.32.2", "mlx-vlm": "0.7.10", "vllm-mlx": "0.6.0"}
SHOWN = ("mlx-lm", "mlx-vlm", "vllm-mlx", "mlx", "transformers")
"""The versions that the report tells of each environment, where they are installed."""
INSTALL_SECONDS = 1800


class InstallationFailed(Exception):
    """What the installer said."""


@dataclass(frozen=True)
class Environment:
    package: str

    @property
    def folder(self) -> Path:
        return BUILD / "environments" / self.package

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def program(self, name: str) -> str:
        return str(self.folder / "bin" / name)

    def ensure(self) -> None:
        """Installs the package unless the folder says that it has been. Raises InstallationFailed."""
        wanted = [f"{self.package}=={PACKAGES[self.package]}", own_mlx()]
        mark = self.folder / "installed.json"
        if mark.exists() and json.loads(mark.read_text()) == wanted:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        if runs("uv", "--version"):
            run("uv", "venv", "--quiet", "--python", sys.executable, str(self.folder))
            run("uv", "pip", "install", "--quiet", "--python", str(self.python), *wanted)
        else:
            run(sys.executable, "-m", "venv", str(self.folder))
            run(str(self.python), "-m", "pip", "install", "--quiet", *wanted)
        mark.write_text(json.dumps(wanted))

    def versions(self) -> dict[str, str]:
        done = subprocess.run(
            [self.python, "-c", PRINT_VERSIONS, *SHOWN], capture_output=True, text=True, timeout=60, check=True
        )
        found: dict[str, str] = json.loads(done.stdout)
        return found


PRINT_VERSIONS = """
import json, sys
from importlib import metadata
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def own_versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in SHOWN if installed(name)}


def own_mlx() -> str:
    """MLX as a requirement: the version that we run on, with the backend that we run on."""
    version = metadata.version("mlx")
    for extra, distribution in (("cuda12", "mlx-cuda-12"), ("cuda13", "mlx-cuda-13"), ("cpu", "mlx-cpu")):
        if installed(distribution):
            return f"mlx[{extra}]=={version}"
    return f"mlx=={version}"


def installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def runs(*command: str) -> bool:
    """Whether this program is there and works: a name on the PATH may be a shim that does not run."""
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    except OSError:
        return False


def run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise InstallationFailed(f"not done after {INSTALL_SECONDS} s") from None
    if done.returncode:
        raise InstallationFailed((done.stderr or done.stdout).strip()[-500:])
