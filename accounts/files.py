"""What is stored of files: written and read in pieces, seen by its owner alone. Synchronous."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from accounts import audit
from accounts.models import Batch, FileChunk, StoredFile, User
from accounts.models.stored_file import CHUNK_BYTES as CHUNK_BYTES

LEFT_BEHIND = timedelta(hours=1)
"""A file that was not whole after this time was given up: nobody uploads for so long."""
DELETED_AT_ONCE = 16
"""Chunks in one statement, so that no other writer waits long."""


class FileInUse(Exception):
    """A batch that has not ended reads it."""


class TooMuchStored(Exception):
    """Its owner has as much stored as may be."""


class Writer:
    """Takes a file's bytes as they come and keeps less than a chunk of them in memory. Nobody sees the file before
    `finish`; one that is never finished is deleted after an hour."""

    def __init__(self, file: StoredFile, *, room: int | None = None) -> None:
        """room: bytes that there is room for; None: for all that come."""
        self.file = file
        self._room = room
        self._held = bytearray()
        self._chunks = 0
        file.save()

    def write(self, data: bytes) -> None:
        """Raises TooMuchStored."""
        self.file.size += len(data)
        if self._room is not None and self.file.size > self._room:
            raise TooMuchStored
        self._held += data
        while len(self._held) >= CHUNK_BYTES:
            self._store(bytes(self._held[:CHUNK_BYTES]))
            del self._held[:CHUNK_BYTES]

    def finish(self) -> StoredFile:
        """The file is there from now on; call it inside of the transaction that says so elsewhere, if there is one."""
        if self._held:
            self._store(bytes(self._held))
            self._held.clear()
        self.file.is_whole = True
        self.file.save(update_fields=["size", "is_whole", "filename", "purpose", "expires_at"])
        return self.file

    def discard(self) -> None:
        remove(self.file)

    def _store(self, data: bytes) -> None:
        FileChunk.objects.create(file=self.file, number=self._chunks, data=data)
        self._chunks += 1


class Reader:
    """Parts of a file, those that are near each other with one query a chunk."""

    def __init__(self, file: StoredFile) -> None:
        self._file = file
        self._number = -1
        self._chunk = b""

    def read(self, offset: int, length: int) -> bytes:
        """Raises LookupError where the file is gone."""
        found = bytearray()
        for number in range(offset // CHUNK_BYTES, (offset + length - 1) // CHUNK_BYTES + 1):
            if number != self._number:
                data = chunk(self._file, number)
                if data is None:
                    raise LookupError(f"{self._file} has no chunk {number}")
                self._number, self._chunk = number, data
            start = number * CHUNK_BYTES
            found += self._chunk[max(0, offset - start) : offset + length - start]
        return bytes(found)


def room_of(user_id: int) -> int:
    """Bytes that this user may still upload. One query."""
    stored = StoredFile.objects.filter(user_id=user_id).aggregate(total=Sum("size"))["total"] or 0
    return max(0, int(settings.FILES_PER_USER_BYTES) - int(stored))


def lifetime(seconds: int | None = None) -> datetime:
    """When a file that is made now expires: after so many seconds, or as all do."""
    after = timedelta(days=settings.FILES_TTL_DAYS) if seconds is None else timedelta(seconds=seconds)
    return timezone.now() + after


def chunks(file: StoredFile) -> Iterator[bytes]:
    """All of it, a query and a mebibyte at a time. It ends early where the file is deleted meanwhile."""
    for number in range(-(-file.size // CHUNK_BYTES)):
        data = chunk(file, number)
        if data is None:
            return
        yield data


def chunk(file: StoredFile, number: int) -> bytes | None:
    """The piece of that number, from 0 on; None: there is none (any more). One query."""
    data = FileChunk.objects.filter(file=file, number=number).values_list("data", flat=True).first()
    return None if data is None else bytes(data)


def do_delete_file(file: StoredFile, *, acting_user: User | None) -> bool:
    """Whether it was there to delete. Raises FileInUse. Written to the audit log where somebody else than its owner
    does it."""
    with transaction.atomic():
        stored = StoredFile.objects.select_for_update().filter(pk=file.pk, is_whole=True).first()
        if stored is None:
            return False
        if Batch.objects.unfinished().filter(input_file_id=stored.file_id).exists():
            raise FileInUse
        if acting_user is None or acting_user.pk != stored.user_id:
            audit.record("file.deleted", stored, acting_user=acting_user, before=facts(stored))
        StoredFile.objects.filter(pk=stored.pk).update(is_whole=False)
    remove(stored)
    return True


def facts(file: StoredFile) -> dict[str, object]:
    """What the audit log says of it; never its name, which may tell what is in it."""
    return {"user": file.user.username, "purpose": file.purpose, "bytes": file.size, "created_at": file.created_at}


def remove(file: StoredFile) -> None:
    """Its rows, in several statements. What was whole is taken out of sight first."""
    while numbers := list(file.chunks.values_list("pk", flat=True)[:DELETED_AT_ONCE]):
        FileChunk.objects.filter(pk__in=numbers).delete()
    StoredFile.objects.filter(pk=file.pk).delete()


def delete_expired() -> int:
    """Deletes files whose time is over and no batch reads, and what was never finished; how many."""
    now = timezone.now()
    in_use = Batch.objects.unfinished().values("input_file_id")
    expired = StoredFile.objects.filter(expires_at__lte=now, is_whole=True).exclude(file_id__in=in_use)
    left = StoredFile.objects.filter(is_whole=False, created_at__lt=now - LEFT_BEHIND)
    return _remove_all([*expired.only("pk"), *left.only("pk")])


def delete_unfinished_of(batch: Batch) -> None:
    """What a worker that died had begun to write for it."""
    _remove_all(StoredFile.objects.filter(made_by=batch.batch_id, is_whole=False))


def _remove_all(files: Iterable[StoredFile]) -> int:
    count = 0
    for file in files:
        StoredFile.objects.filter(pk=file.pk).update(is_whole=False)
        remove(file)
        count += 1
    return count
