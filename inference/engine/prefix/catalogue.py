"""Which blocks and checkpoints are on disk, by file name alone: a restart lists a folder and reads no file.

    <folder>/<fingerprint>/<2 hex digits>/<key>-<parent>-<tokens>.<kind>

Names are hashes and counts. Last use is the file's modification time.
"""

import fcntl
import os
import re
from collections import OrderedDict
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from inference.engine.prefix.stored import KINDS, Kind, Stored

FILE = re.compile(rf"([0-9a-f]+)-([0-9a-f]+)-(\d+)\.({'|'.join(KINDS)})")
FOLDER = re.compile(r"[0-9a-f]{32}")
TEMPORARY = ".tmp"
LOCK = "lock"


class Name(NamedTuple):
    """What is asked for."""

    kind: Kind
    key: bytes


class Entry(NamedTuple):
    """What is known of a file without reading it."""

    parent: bytes
    tokens: int
    bytes: int
    """Of the whole file."""


class Catalogue:
    """One model's files, least recently used first. Not for use by several threads at once."""

    def __init__(self, folder: Path, fingerprint: bytes):
        self.folder = folder / sha256(fingerprint).hexdigest()[:32]
        self.bytes = 0
        self._entries: OrderedDict[Name, Entry] = OrderedDict()
        self._states: dict[bytes, set[bytes]] = {}
        """Keys of the states that hang on each block."""
        self._lock: int | None = None

    def open(self) -> None:
        """Makes the folder, claims it for this process and lists it. Raises OSError; BlockingIOError when taken."""
        self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self._lock = lock(self.folder)
        found = []
        for path in self.folder.glob("??/*"):
            match = FILE.fullmatch(path.name)
            if match:
                key, parent, tokens, kind = match.groups()
                stat = path.stat()
                entry = Entry(bytes.fromhex(parent), int(tokens), stat.st_size)
                found.append((stat.st_mtime_ns, Name(kind, bytes.fromhex(key)), entry))  # type: ignore[arg-type]
            elif path.suffix == TEMPORARY:
                path.unlink(missing_ok=True)
        for _, name, entry in sorted(found, key=lambda each: each[0]):
            self.add(name, entry)

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: Name) -> bool:
        return name in self._entries

    def get(self, name: Name) -> Entry | None:
        return self._entries.get(name)

    def states(self, block: bytes) -> Iterator[tuple[bytes, int]]:
        """Key and position of each state between this block and the next."""
        for key in self._states.get(block, ()):
            yield key, self._entries[Name("state", key)].tokens

    def add(self, name: Name, entry: Entry) -> None:
        self.remove(name)
        self._entries[name] = entry
        self.bytes += entry.bytes
        if name.kind == "state":
            self._states.setdefault(entry.parent, set()).add(name.key)

    def remove(self, name: Name) -> None:
        entry = self._entries.pop(name, None)
        if entry is None:
            return
        self.bytes -= entry.bytes
        if name.kind == "state":
            self._states[entry.parent].discard(name.key)
            if not self._states[entry.parent]:
                del self._states[entry.parent]

    def touch(self, name: Name) -> None:
        if name in self._entries:
            self._entries.move_to_end(name)

    def oldest(self) -> tuple[Name, Entry]:
        name = next(iter(self._entries))
        return name, self._entries[name]

    def path(self, name: Name, entry: Entry | Stored) -> Path:
        key = name.key.hex()
        return self.folder / key[:2] / f"{key}-{entry.parent.hex()}-{entry.tokens}.{name.kind}"

    def drop_others(self) -> int:
        """Deletes what other fingerprints left beside this one, unless an engine is using it; returns how many files.

        Only files of this format: a folder that holds something else besides is left with it. Raises OSError.
        """
        deleted = 0
        for other in self.folder.parent.iterdir():
            if other == self.folder or not FOLDER.fullmatch(other.name) or not other.is_dir():
                continue
            try:
                held = lock(other)
            except OSError:
                continue
            for path in other.glob("??/*"):
                if FILE.fullmatch(path.name) or path.suffix == TEMPORARY:
                    path.unlink(missing_ok=True)
                    deleted += 1
            os.close(held)
            (other / LOCK).unlink(missing_ok=True)
            for empty in [*other.glob("??"), other]:
                if empty.is_dir() and not any(empty.iterdir()):
                    empty.rmdir()
        return deleted


def lock(folder: Path) -> int:
    """The descriptor that holds the folder until it is closed. Raises BlockingIOError when another process has it."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
