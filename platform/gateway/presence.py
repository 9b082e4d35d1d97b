"""Which gateways run on this data folder: each holds a lock under its name for as long as its process lives."""

import fcntl
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from atelier.data_dir import make_private

PATIENCE_SECONDS = 0.5
"""Whoever looks for names holds each lock for a moment, too."""


class NameTaken(Exception):
    pass


def _folder() -> Path:
    return make_private(settings.DATA_DIR / "gateways")


@contextmanager
def present(name: str) -> Iterator[None]:
    """Raises NameTaken when a gateway of this name runs: two would take each other's answers from the engines, and one
    that starts would close the other's rows in the ledger."""
    path = _folder() / hashlib.sha256(name.encode()).hexdigest()[:16]
    with path.open("a+") as lock:
        until = time.monotonic() + PATIENCE_SECONDS
        while not _locked(lock.fileno()):
            if time.monotonic() < until:
                time.sleep(0.05)
                continue
            raise NameTaken(f"A gateway called {name!r} is running already. Give each one a --name of its own.")
        lock.truncate(0)
        lock.write(name)
        lock.flush()
        yield


def names() -> list[str]:
    """Of those that run now, sorted."""
    found = []
    for path in sorted(_folder().iterdir()):
        with path.open() as file:
            if _locked(file.fileno(), fcntl.LOCK_SH):
                continue  # its gateway is gone
            found.append(file.read())
    return sorted(found)


def _locked(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
