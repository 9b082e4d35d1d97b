"""Reading ahead: what a prompt will want, loaded off the step thread into bounded memory."""

import logging
import time
from collections import OrderedDict
from collections.abc import Iterable
from threading import Thread
from typing import NamedTuple

from inference.engine.prefix.catalogue import Entry, Name
from inference.engine.prefix.disk import Disk
from inference.engine.prefix.stored import Stored

log = logging.getLogger(__name__)


class Want(NamedTuple):
    call: int
    """Which call of `want` it belongs to; later calls take the memory of earlier ones that nobody came for."""
    used: int
    """Time of use to note on the file, in nanoseconds."""


class Loaded(NamedTuple):
    stored: Stored
    bytes: int
    call: int


class ReadAhead:
    """At most `max_bytes` wait to be taken. All but `take` and the thread expects the caller to hold `disk.changed`."""

    def __init__(self, disk: Disk, max_bytes: int):
        self.bytes = 0
        self._disk = disk
        self._max_bytes = max_bytes
        self._wanted: OrderedDict[Name, Want] = OrderedDict()
        self._loaded: OrderedDict[Name, Loaded] = OrderedDict()
        self._reading: Name | None = None
        self._calls = 0
        self._closing = False
        self._thread = Thread(target=self._run, name="prefix-read-ahead", daemon=True)
        self._thread.start()

    def __contains__(self, name: Name) -> bool:
        return name in self._loaded

    def pending(self, name: Name) -> bool:
        """Whether it is still to be read."""
        return name in self._wanted or name == self._reading

    def want(self, names: Iterable[Name]) -> None:
        now = time.time_ns()
        self._calls += 1
        for i, name in enumerate(names):
            if name in self._disk.catalogue and name not in self._loaded:
                # The first of a chain counts as used last: without it the others are worth nothing.
                self._wanted[name] = Want(self._calls, now - i * 1000)
        self._disk.changed.notify_all()

    def discard(self, name: Name) -> Stored | None:
        """No longer wanted; what was loaded of it."""
        self._wanted.pop(name, None)
        loaded = self._loaded.pop(name, None)
        if loaded is None:
            return None
        self.bytes -= loaded.bytes
        return loaded.stored

    def take(self, name: Name) -> Stored | None:
        """From memory, or from the disk there and then. Without the lock."""
        with self._disk.changed:
            while self._reading == name:
                self._disk.changed.wait()
            stored = self.discard(name)
            entry = self._disk.catalogue.get(name)
        if stored is not None or entry is None:
            return stored
        return self._disk.read(name, entry, time.time_ns())

    def close(self) -> None:
        self._closing = True
        self._wanted.clear()
        self._disk.changed.notify_all()

    def join(self, timeout: float) -> None:
        """Without the lock."""
        self._thread.join(timeout)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            name, entry, want = job
            stored = None
            try:
                stored = self._disk.read(name, entry, want.used)
            except Exception:
                # Whoever wants it reads it again and hears of it; the thread goes on for the others.
                log.exception("reading ahead failed")
            with self._disk.changed:
                self._reading = None
                if stored is not None and not self._closing:
                    self._loaded[name] = Loaded(stored, entry.bytes, want.call)
                    self.bytes += entry.bytes
                self._disk.changed.notify_all()

    def _next(self) -> tuple[Name, Entry, Want] | None:
        """The next that there is memory for; None when it is time to end."""
        with self._disk.changed:
            while not self._closing:
                while self._wanted:
                    name, want = self._wanted.popitem(last=False)
                    entry = self._disk.catalogue.get(name)
                    if entry is not None and self._make_room(entry.bytes, want.call):
                        self._reading = name
                        return name, entry, want
                self._disk.changed.wait()
            return None

    def _make_room(self, size: int, call: int) -> bool:
        while self.bytes + size > self._max_bytes:
            oldest = next(iter(self._loaded), None)
            if oldest is None or self._loaded[oldest].call >= call:
                return False
            self.discard(oldest)
        return True
