"""Fetches one file: goes on where it was left, compares the whole with its hash, and gives it its name then."""

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import httpx

from inference.hub.cache import Store
from inference.hub.client import Hub
from inference.hub.errors import Again, HubError, Stopped
from inference.hub.repository import RepoFile, Repository

BLOCK = 1 << 20
LOCK_SECONDS = 0.2
Moved = Callable[[int, int], None]
"""Told how many bytes of the file are here, and how many came over the network just now."""


def fetch(hub: Hub, store: Store, repository: Repository, file: RepoFile, moved: Moved, *, trusted: bool) -> None:
    """Returns when the file is here, and what it should be. trusted: what is here under its name already has been
    compared before. Raises HubError, Stopped; what was fetched until then stays."""
    if _is_here(hub, store, file, trusted=trusted):
        moved(file.size, 0)
        return
    with _alone(hub, store.partial(file)) as partial:
        if not store.blob(file).exists():
            _Fetching(hub, repository, file, partial, moved).run()
            partial.flush()
            os.fsync(partial.fileno())
            store.partial(file).replace(store.blob(file))
    moved(file.size, 0)


def _is_here(hub: Hub, store: Store, file: RepoFile, *, trusted: bool) -> bool:
    """A file with this name and another content is deleted."""
    blob = store.blob(file)
    if not blob.is_file():
        return False
    if blob.stat().st_size == file.size:
        if trusted:
            return True
        with blob.open("rb") as content:
            if _digest(hub, content, file).hexdigest() == file.etag:
                return True
    blob.unlink()
    return False


@contextmanager
def _alone(hub: Hub, path: Path) -> Iterator[BinaryIO]:
    """The file, which nobody else fetches meanwhile. Raises Stopped."""
    while True:
        with path.open("a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if hub.stop.wait(LOCK_SECONDS):
                    raise Stopped from None
                continue
            if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                # Another process has just finished it.
                continue
            yield file
            return


class _Fetching:
    def __init__(self, hub: Hub, repository: Repository, file: RepoFile, partial: BinaryIO, moved: Moved):
        self._hub = hub
        self._repository = repository
        self._file = file
        self._partial = partial
        self._moved = moved
        self._held = 0
        self._digest = file.hasher()
        self._patience = hub.patience(f"{repository.id}, {file.path}")

    def run(self) -> None:
        self._begin()
        wrong = 0
        while True:
            while self._held < self._file.size:
                try:
                    self._go_on()
                except Again as error:
                    self._patience.failed(error)
            if self._held == self._file.size and self._digest.hexdigest() == self._file.etag:
                return
            self._forget()
            # What was left by somebody may have been wrong; what has just come anew may not.
            wrong += 1
            if wrong > 1:
                raise HubError(
                    "corrupt",
                    f"{self._repository.id}, {self._file.path}: its content is not what the hub says (its hash is "
                    "wrong), twice. It was thrown away. Try again later; does a proxy in between change things?",
                )

    def _begin(self) -> None:
        """With what is left of an earlier attempt."""
        self._partial.seek(0, os.SEEK_END)
        self._held = self._partial.tell()
        if self._held > self._file.size:
            self._forget()
        self._partial.seek(0)
        self._digest = _digest(self._hub, self._partial, self._file)
        self._moved(self._held, 0)

    def _forget(self) -> None:
        self._partial.seek(0)
        self._partial.truncate()
        self._held = 0
        self._digest = self._file.hasher()
        self._moved(0, 0)

    def _go_on(self) -> None:
        """Raises HubError, Again, Stopped."""
        with self._hub.reading(self._repository, self._file, self._held) as response:
            if self._held and not self._continues(response):
                self._forget()
                if response.status_code != 200:
                    raise Again("the hub went on at another place of the file than it was asked to")
            for content in response.iter_raw():
                if self._hub.stop.is_set():
                    raise Stopped
                self._take(content)
        if self._held < self._file.size:
            raise Again("the connection was cut")

    def _continues(self, response: httpx.Response) -> bool:
        place = response.headers.get("content-range", "")
        return response.status_code == 206 and place.startswith(f"bytes {self._held}-")

    def _take(self, content: bytes) -> None:
        try:
            self._partial.write(content)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise HubError(
                    "no_room",
                    f"{self._repository.id}: the disk is full. What was fetched is kept: make room and try again.",
                ) from error
            raise
        self._digest.update(content)
        self._held += len(content)
        self._moved(self._held, len(content))
        self._patience.succeeded()
        if self._held > self._file.size:
            self._forget()
            raise Again("more came than the file has")


def _digest(hub: Hub, content: BinaryIO, file: RepoFile) -> "hashlib._Hash":
    """Of all of it. Raises Stopped."""
    digest = file.hasher()
    while block := content.read(BLOCK):
        digest.update(block)
        if hub.stop.is_set():
            raise Stopped
    return digest
