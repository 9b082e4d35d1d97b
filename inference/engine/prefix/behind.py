"""Writing behind: a bounded queue and the thread that empties it onto the disk."""

import logging
from collections import OrderedDict
from collections.abc import Iterator
from threading import Thread

from inference.engine.prefix.catalogue import Name
from inference.engine.prefix.disk import Disk
from inference.engine.prefix.stored import Stored

log = logging.getLogger(__name__)


class WriteBehind:
    """At most `max_bytes` wait; more is dropped, for a cache must not hold up what it serves.

    All but the thread expects the caller to hold `disk.changed`.
    """

    def __init__(self, disk: Disk, max_bytes: int):
        self.bytes = 0
        self._disk = disk
        self._max_bytes = max_bytes
        self._queue: OrderedDict[Name, Stored] = OrderedDict()
        self._closing = False
        self._thread = Thread(target=self._run, name="prefix-write-behind", daemon=True)
        self._thread.start()

    def __contains__(self, name: Name) -> bool:
        return name in self._queue

    def get(self, name: Name) -> Stored | None:
        """What is not written yet can be had from here."""
        return self._queue.get(name)

    def states(self, block: bytes) -> Iterator[tuple[bytes, int]]:
        """As `Catalogue.states`."""
        for stored in self._queue.values():
            if stored.kind == "state" and stored.parent == block:
                yield stored.key, stored.tokens

    def put(self, stored: Stored) -> bool:
        if not self._disk.counts.writing or self._closing or self.bytes + stored.bytes > self._max_bytes:
            self._disk.counts.dropped += 1
            return False
        self._queue[Name(stored.kind, stored.key)] = stored
        self.bytes += stored.bytes
        self._disk.changed.notify_all()
        return True

    def close(self) -> None:
        self._closing = True
        self._disk.changed.notify_all()

    def join(self, timeout: float) -> bool:
        """Without the lock; whether all that was queued is done."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._disk.drop_others()
            while (stored := self._next()) is not None:
                self._disk.write(stored)
                with self._disk.changed:
                    del self._queue[Name(stored.kind, stored.key)]
                    self.bytes -= stored.bytes
                    self._disk.changed.notify_all()
        except Exception as error:
            log.exception("the SSD cache's writer failed")
            self._disk.stop_writing(OSError(0, f"{type(error).__name__} in the writer"))
        with self._disk.changed:
            self._queue.clear()
            self.bytes = 0

    def _next(self) -> Stored | None:
        """The oldest in the queue, which stays there while it is written; None when it is time to end."""
        with self._disk.changed:
            while True:
                if not self._disk.counts.writing:
                    return None
                if self._queue:
                    return next(iter(self._queue.values()))
                if self._closing:
                    return None
                self._disk.changed.wait()
