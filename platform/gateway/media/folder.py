"""Files that requests may name: those under one folder, wherever links and dots lead."""

import os
import stat
from pathlib import Path

from gateway.errors import ApiError
from gateway.media import refusals
from gateway.media.rules import Rules
from gateway.media.source import Local


def read(source: Local, rules: Rules, most: int) -> bytes:
    """At most so many bytes. Blocks. Raises ApiError, the same for a file that is not there as for one that is
    elsewhere."""
    assert rules.folder is not None
    try:
        path = (rules.folder / source.path).resolve(strict=True)
        inside = path.relative_to(rules.folder)
        with os.fdopen(_opened(rules.folder, inside), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _unknown(source)
            data = file.read(most + 1)
    except (OSError, ValueError, RuntimeError):
        raise _unknown(source) from None
    if len(data) > most:
        raise refusals.too_large(source.where, source.kind, most)
    return data


def _opened(folder: Path, inside: Path) -> int:
    """Step by step and through no link: one that was put there after the path was resolved leads nowhere."""
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        *folders, name = inside.parts
        for part in folders:
            following = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = following
        # Without O_NONBLOCK a pipe would hold us until somebody writes to it.
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    finally:
        os.close(at)


def _unknown(source: Local) -> ApiError:
    return refusals.forbidden(source.where, "names no file in the folder for media (--media-dir)")
