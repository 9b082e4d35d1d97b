"""The SSD tier: blocks that left the pool, kept on disk and read back ahead of use, across restarts.

The step thread only looks things up and takes what is there; one thread writes behind, another reads ahead.

Keys, values and token ids are as sensitive as the prompts themselves: the files are their owner's alone (0600 in 0700)
and want the protection that the database has.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from inference.engine.prefix.ahead import ReadAhead
from inference.engine.prefix.behind import WriteBehind
from inference.engine.prefix.catalogue import Name
from inference.engine.prefix.disk import Disk, TierCounters
from inference.engine.prefix.keys import Chain
from inference.engine.prefix.stored import Kind, Stored

MIB = 2**20


class Tier:
    """At most `max_bytes` of files in `folder`, least recently used deleted first. Any thread may call.

    `fingerprint` names model, revision and layout: what another wrote is deleted, so a folder serves one model. Nothing
    here raises for the disk's sake: at the first failure to write the tier stops writing, says so once, and reads on.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        fingerprint: bytes,
        *,
        queue_bytes: int = 256 * MIB,
        ahead_bytes: int = 512 * MIB,
    ):
        self._disk = Disk(folder, max_bytes, fingerprint)
        self._behind = WriteBehind(self._disk, queue_bytes)
        self._ahead = ReadAhead(self._disk, ahead_bytes)

    def put(self, stored: Stored) -> bool:
        """Queues it for writing; False when it was dropped. Its buffers must not change until it is written."""
        name = Name(stored.kind, stored.key)
        with self._disk.changed:
            if name in self._disk.catalogue or name in self._behind:
                self._disk.catalogue.touch(name)
                return True
            return self._behind.put(stored)

    def lookup(self, keys: Sequence[bytes]) -> int:
        """How many of these blocks, from the first on, are here; they count as used."""
        names = [Name("block", key) for key in keys]
        with self._disk.changed:
            count = 0
            while count < len(names) and (names[count] in self._disk.catalogue or names[count] in self._behind):
                count += 1
            # The first becomes the newest: without it the others are worth nothing.
            for name in reversed(names[:count]):
                self._disk.catalogue.touch(name)
        return count

    def states(self, chain: Chain, limit: int | None = None) -> list[int]:
        """Positions, last first, of the checkpoints that are here of the chain's first `limit` tokens."""
        limit = len(chain) if limit is None else min(limit, len(chain))
        found: set[int] = set()
        with self._disk.changed:
            for depth in range(limit // chain.size + 1):
                block = chain.keys[depth - 1] if depth else chain.root
                for source in (self._disk.catalogue, self._behind):
                    found.update(at for key, at in source.states(block) if at <= limit and chain.key_at(at) == key)
        return sorted(found, reverse=True)

    def read_ahead(self, keys: Iterable[bytes], kind: Kind = "block") -> None:
        """Starts loading them, in this order, as far as memory goes. What earlier calls loaded and nobody took makes
        room."""
        with self._disk.changed:
            self._ahead.want(Name(kind, key) for key in keys)

    def loaded(self, keys: Iterable[bytes], kind: Kind = "block") -> int:
        """How many of these, from the first on, `take` would return without touching the disk."""
        count = 0
        with self._disk.changed:
            for name in (Name(kind, key) for key in keys):
                if name not in self._ahead and name not in self._behind:
                    break
                count += 1
        return count

    def reading(self, keys: Iterable[bytes], kind: Kind = "block") -> bool:
        """Whether any of these is still being read ahead. What is neither loaded nor pending will not come: it was
        damaged, or there was no memory for it."""
        with self._disk.changed:
            return any(self._ahead.pending(Name(kind, key)) for key in keys)

    def take(self, key: bytes, kind: Kind = "block") -> Stored | None:
        """From memory, else from the disk, there and then. None when it isn't here or is damaged. It stays on disk.

        Compare its label with the chain's, as the index does.
        """
        name = Name(kind, key)
        with self._disk.changed:
            stored = self._behind.get(name)
        if stored is None:
            stored = self._ahead.take(name)
        with self._disk.changed:
            self._disk.counts.hits += stored is not None
            self._disk.counts.misses += stored is None
        return stored

    def discard(self, keys: Iterable[bytes], kind: Kind = "block") -> None:
        """The request that they were read ahead for won't take them."""
        with self._disk.changed:
            for key in keys:
                self._ahead.discard(Name(kind, key))

    def counters(self) -> TierCounters:
        """A snapshot."""
        with self._disk.changed:
            return replace(
                self._disk.counts,
                entries=len(self._disk.catalogue),
                bytes=self._disk.catalogue.bytes,
                queued_bytes=self._behind.bytes,
                ahead_bytes=self._ahead.bytes,
            )

    def close(self, timeout: float = 30.0) -> bool:
        """Writes what is queued and lets go of the folder; False when `timeout` seconds were not enough for it."""
        with self._disk.changed:
            self._behind.close()
            self._ahead.close()
        done = self._behind.join(timeout)
        self._ahead.join(timeout)
        self._disk.catalogue.close()
        return done
