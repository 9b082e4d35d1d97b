"""The tier's folder: files written, read, deleted, and what is said when that fails."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from threading import Condition

from inference.engine.prefix.catalogue import TEMPORARY, Catalogue, Entry, Name
from inference.engine.prefix.stored import Corrupt, Stored, decode, encode

log = logging.getLogger(__name__)


@dataclass(slots=True)
class TierCounters:
    """Since the start, except those said to be of now. Blocks and checkpoints together."""

    hits: int = 0
    misses: int = 0
    written: int = 0
    bytes_written: int = 0
    read: int = 0
    bytes_read: int = 0
    dropped: int = 0
    """Not written: the queue was full, the tier off, or the file larger than all of them together may be."""
    evicted: int = 0
    """Deleted for the newer ones' room."""
    foreign: int = 0
    """Deleted because another model had written them."""
    corrupt: int = 0
    missing: int = 0
    """Deleted by somebody else."""
    errors: int = 0
    """Of the operating system, writing or reading."""
    writing: bool = True
    """Of now, as are all below."""
    entries: int = 0
    bytes: int = 0
    queued_bytes: int = 0
    ahead_bytes: int = 0


class Disk:
    """At most `max_bytes` of files. Its methods never raise OSError, and take the lock themselves."""

    def __init__(self, folder: Path, max_bytes: int, fingerprint: bytes):
        self.changed = Condition()
        """Guards the catalogue, the counters and what the two threads share; held for bookkeeping, never for a file."""
        self.counts = TierCounters()
        self.catalogue = Catalogue(folder, fingerprint)
        self._fingerprint = fingerprint
        self._max_bytes = max_bytes
        try:
            self.catalogue.open()
        except OSError as error:
            self.stop_writing(error)

    def write(self, stored: Stored) -> None:
        """Appears under its name whole or not at all. Not synced: what a power cut leaves half, the checksum finds."""
        name = Name(stored.kind, stored.key)
        pieces = encode(stored, self._fingerprint)
        entry = Entry(stored.parent, stored.tokens, sum(len(piece) for piece in pieces))
        path = self.catalogue.path(name, entry)
        temporary = path.with_suffix(TEMPORARY)
        try:
            if not self._make_room(entry.bytes):
                return
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.writelines(pieces)
            temporary.replace(path)
        except OSError as error:
            self._delete(temporary)
            self.stop_writing(error)
            return
        with self.changed:
            self.catalogue.add(name, entry)
            self.counts.written += 1
            self.counts.bytes_written += entry.bytes

    def read(self, name: Name, entry: Entry, used: int) -> Stored | None:
        """None when the file is gone or damaged, which also takes it out of the catalogue. `used` becomes its time of
        last use, in nanoseconds."""
        path = self.catalogue.path(name, entry)
        try:
            stored = decode(path.read_bytes(), self._fingerprint)
            if Name(stored.kind, stored.key) != name:
                raise Corrupt("another block's name")
            os.utime(path, ns=(used, used))
        except FileNotFoundError:
            self._lose(name, "missing")
            return None
        except Corrupt:
            self._delete(path)
            self._lose(name, "corrupt")
            return None
        except OSError:
            self._lose(name, "errors")
            return None
        with self.changed:
            self.counts.read += 1
            self.counts.bytes_read += entry.bytes
        return stored

    def drop_others(self) -> None:
        """Deletes other models' files."""
        if not self.counts.writing:
            return
        try:
            deleted = self.catalogue.drop_others()
        except OSError as error:
            self.stop_writing(error)
            return
        with self.changed:
            self.counts.foreign += deleted

    def stop_writing(self, error: OSError) -> None:
        """For good: a full or broken disk doesn't mend by being written to."""
        with self.changed:
            first, self.counts.writing = self.counts.writing, False
            self.counts.errors += 1
            self.changed.notify_all()
        if first:
            taken = isinstance(error, BlockingIOError)
            log.warning(
                "The SSD cache can't write to %s (%s). It writes no more until the engine restarts, but still reads "
                "what is there. See --ssd-cache-dir and --ssd-cache-max-gb.",
                self.catalogue.folder, "another engine uses it" if taken else error.strerror,
            )  # fmt: skip

    def _make_room(self, size: int) -> bool:
        """Raises OSError."""
        while True:
            with self.changed:
                if size > self._max_bytes:
                    self.counts.dropped += 1
                    return False
                if self.catalogue.bytes + size <= self._max_bytes:
                    return True
                name, entry = self.catalogue.oldest()
                self.catalogue.remove(name)
                self.counts.evicted += 1
            self.catalogue.path(name, entry).unlink(missing_ok=True)

    def _lose(self, name: Name, counter: str) -> None:
        with self.changed:
            self.catalogue.remove(name)
            setattr(self.counts, counter, getattr(self.counts, counter) + 1)

    def _delete(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.debug("can't delete %s: %s", path.name, error)
