"""Fetches all files of a model, several at once, and makes a snapshot of them when the last one is right."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic

from inference.hub.cache import Store
from inference.hub.client import Hub
from inference.hub.errors import HubError, Stopped
from inference.hub.fetch import fetch
from inference.hub.repository import RepoFile, Repository, unique

TICK_SECONDS = 0.5
GRACE_SECONDS = 2.0
"""For threads to notice that all is over. One that waits for a silent server notices later, and harms nobody: it has
nothing to write."""
RATE_SECONDS = 10.0


@dataclass
class Progress:
    """bytes_total and bytes_done count each content once. fetched: over the network, since it began."""

    bytes_total: int
    files_total: int
    bytes_done: int = 0
    files_done: int = 0
    fetched: int = 0
    is_over: bool = False
    """Nothing more will come."""
    verified: set[str] = field(default_factory=set)
    """Hashes of the files that are whole and right."""
    by_file: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By path: bytes here, and in all."""
    _held: dict[str, int] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _marks: deque[tuple[float, int]] = field(default_factory=deque, repr=False)

    def moved(self, file: RepoFile, held: int, fetched: int) -> None:
        with self._lock:
            self.bytes_done += held - self._held.get(file.etag, 0)
            self._held[file.etag] = held
            self.by_file[file.path] = (held, file.size)
            self.fetched += fetched

    def finished(self, file: RepoFile) -> None:
        with self._lock:
            self.files_done += 1
            self.verified.add(file.etag)

    def rate(self) -> float:
        """Bytes a second over the network, lately. To be asked now and then."""
        now = monotonic()
        self._marks.append((now, self.fetched))
        while self._marks[0][0] < now - RATE_SECONDS:
            self._marks.popleft()
        (first, before), (last, after) = self._marks[0], self._marks[-1]
        return (after - before) / (last - first) if last > first else 0.0


def get_snapshot(
    hub: Hub,
    repository: Repository,
    revision: str,
    *,
    at_once: int,
    verified: Collection[str] = (),
    tick: Callable[[Progress], None] = lambda progress: None,
) -> Path:
    """Its folder. verified: hashes of files that have been compared before. tick is called every half second, and
    once at the end; what it raises ends the download. Raises HubError, Stopped; what was fetched until then stays."""
    store = Store(repository.id)
    store.check_room(repository)
    files = unique(repository.files)
    progress = Progress(sum(file.size for file in files), len(files))
    # The large ones first: the small ones fill the gaps.
    waiting = deque(sorted(files, key=lambda file: -file.size))
    ended: queue.Queue[Exception | None] = queue.Queue()

    def work() -> None:
        try:
            while not hub.stop.is_set():
                try:
                    file = waiting.popleft()
                except IndexError:
                    break
                moved = partial(progress.moved, file)
                fetch(hub, store, repository, file, moved, trusted=file.etag in verified)
                progress.finished(file)
            ended.put(None)
        except Exception as error:
            ended.put(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(at_once, len(files)))]
    for thread in threads:
        thread.start()
    try:
        for _ in threads:
            _wait(ended, lambda: tick(progress))
        if hub.stop.is_set() and progress.files_done < len(files):
            raise Stopped
    except (HubError, Stopped):
        progress.is_over = True
        tick(progress)
        raise
    finally:
        if progress.files_done < len(files):
            hub.abort()
        deadline = monotonic() + GRACE_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - monotonic()))
    progress.is_over = True
    tick(progress)
    return store.link(repository, revision)


def _wait(ended: "queue.Queue[Exception | None]", tick: Callable[[], None]) -> None:
    """Until one thread more has ended. Raises what it has raised."""
    while True:
        try:
            error = ended.get(timeout=TICK_SECONDS)
        except queue.Empty:
            tick()
            continue
        if isinstance(error, OSError):
            raise HubError("broken", f"The model's folder can't be written to: {error.strerror or error}.") from error
        if error is not None:
            raise error
        return
