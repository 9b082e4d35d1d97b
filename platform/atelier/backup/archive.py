"""The backup's file: a tar whose first member says what the others are."""

import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from atelier.backup.errors import BackupError

FORMAT = 1
MANIFEST, DATABASE, SECRET_KEY = "manifest.json", "database", "secret_key"
COMPRESSIONS: dict[str, Literal["", "gz", "xz"]] = {".tar": "", ".tar.gz": "gz", ".tgz": "gz", ".tar.xz": "xz"}
LARGEST_TEXT = 1 << 20
"""Bytes of manifest and secret; more is not ours."""


class Manifest(msgspec.Struct):
    """What the archive says of itself."""

    format: int
    version: str
    """Atelier's."""
    created: str
    database: Literal["sqlite", "postgresql"]
    migrations: list[str]
    """All that were applied, as `app.name`."""


class Contents(msgspec.Struct):
    manifest: Manifest
    database: Path
    """Where it was unpacked."""
    secret_key: str | None


def compression(file: Path) -> Literal["", "gz", "xz"]:
    """By the file's name. Raises BackupError for any other."""
    for ending, found in COMPRESSIONS.items():
        if file.name.endswith(ending):
            return found
    raise BackupError(f"{file}: the name must end in one of {', '.join(COMPRESSIONS)}.")


def write(file: Path, manifest: Manifest, database: Path, secret_key: str | None) -> None:
    """Whole or not at all, for its owner only. Raises BackupError."""
    mode = compression(file)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            with tarfile.open(fileobj=stream, mode=f"w:{mode}") as tar:  # type: ignore[call-overload]
                _add(tar, MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
                tar.add(database, DATABASE, filter=_anonymous)
                if secret_key is not None:
                    _add(tar, SECRET_KEY, secret_key.encode())
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
    except OSError as error:
        raise BackupError(f"{file} can't be written: {error.strerror or error}.") from error
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def unpacked(file: Path, folder: Path) -> Iterator[Contents]:
    """What is in it, unpacked into a folder of ours. Only members that we know are looked at, and their names are never
    used as paths. Raises BackupError for what is not a backup, or not a whole one."""
    target = folder / DATABASE
    try:
        with tarfile.open(file) as tar:
            manifest = _manifest(_text(tar, MANIFEST))
            stream = tar.extractfile(_member(tar, DATABASE))
            assert stream is not None  # a regular file
            with stream, os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy:
                while piece := stream.read(1 << 20):
                    copy.write(piece)
            secret = _text(tar, SECRET_KEY).decode() if SECRET_KEY in tar.getnames() else None
    except FileNotFoundError:
        raise BackupError(f"There is no file {file}.") from None
    except (tarfile.TarError, EOFError, OSError, ValueError, KeyError) as error:
        raise BackupError(f"{file} is not a backup of Atelier, or not a whole one: {error}.") from error
    try:
        yield Contents(manifest, target, secret)
    finally:
        target.unlink(missing_ok=True)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o600
    tar.addfile(member, io.BytesIO(content))


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o600
    return member


def _member(tar: tarfile.TarFile, name: str) -> tarfile.TarInfo:
    member = tar.getmember(name)
    if not member.isreg():
        raise ValueError(f"{name} is not a file")
    return member


def _text(tar: tarfile.TarFile, name: str) -> bytes:
    member = _member(tar, name)
    stream = tar.extractfile(member)
    if stream is None or member.size > LARGEST_TEXT:
        raise ValueError(f"{name} is too large")
    return stream.read()


def _manifest(content: bytes) -> Manifest:
    found = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    if msgspec.json.decode(found.get("format", b"0"), type=int) != FORMAT:
        raise ValueError("its format is of another version of Atelier")
    return msgspec.json.decode(content, type=Manifest)
