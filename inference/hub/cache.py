"""Where downloads are: in the layout of Hugging Face's cache, so that other tools find them, and we find theirs.

    models--ORG--NAME/blobs/HASH              a file, whole
                      blobs/HASH.incomplete   a file on its way
                      snapshots/COMMIT/PATH   links to them
                      refs/REVISION           the commit of a branch or tag

A file gets its name when its content has been compared with it, and a snapshot its config.json, without which no engine
loads it, when all its other files are there.
"""

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

from huggingface_hub import constants

from inference.hub.errors import HubError
from inference.hub.repository import COMMIT, RepoFile, Repository, is_needed, unique

SPARE_BYTES = 1 << 30
"""Of the disk, that a download leaves to everybody else."""
PARTIAL = ".incomplete"


def root() -> Path:
    # Read here and not in the settings: a program with the Python API has none.
    chosen = os.environ.get("ATELIER_MODEL_DIR", "").strip()
    return Path(chosen).expanduser().resolve() if chosen else Path(constants.HF_HUB_CACHE)


class Store:
    """What is here of one model of the hub."""

    def __init__(self, id: str):
        """id: one that `inference.sources` has looked at: it becomes a folder's name."""
        self.folder = root() / "--".join(["models", *id.split("/")])
        self.blobs = self.folder / "blobs"

    def blob(self, file: RepoFile) -> Path:
        return self.blobs / file.etag

    def partial(self, file: RepoFile) -> Path:
        return self.blobs / (file.etag + PARTIAL)

    def snapshot(self, commit: str) -> Path:
        return self.folder / "snapshots" / commit

    def held(self, file: RepoFile) -> int:
        """Bytes of it that are here, whole or on their way."""
        for place in (self.blob(file), self.partial(file)):
            with suppress(OSError):
                return min(file.size, place.stat().st_size)
        return 0

    def check_room(self, repository: Repository) -> None:
        """Raises HubError where the rest of it does not fit on the disk."""
        needed = sum(file.size - self.held(file) for file in unique(repository.files))
        self.blobs.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.blobs).free
        if needed and needed + SPARE_BYTES > free:
            raise HubError(
                "no_room",
                f"{repository.id} takes {gb(needed)} more, and {root()} has {gb(free)} free, of which "
                f"{gb(SPARE_BYTES)} stay free. Make room, or choose another disk with ATELIER_MODEL_DIR.",
            )

    def link(self, repository: Repository, revision: str) -> Path:
        """Makes the snapshot of files that are all here; its folder."""
        folder = self.snapshot(repository.commit)
        for file in sorted(repository.files, key=lambda each: each.path == "config.json"):
            link = folder / file.path
            link.parent.mkdir(parents=True, exist_ok=True)
            depth = len(Path(file.path).parts) + 1
            new = link.with_name(f".{link.name}.new")
            new.unlink(missing_ok=True)
            new.symlink_to(Path(*[".."] * depth, "blobs", file.etag))
            new.replace(link)
        revision = revision or constants.DEFAULT_REVISION
        if not COMMIT.fullmatch(revision):
            ref = self.folder / "refs" / revision
            ref.parent.mkdir(parents=True, exist_ok=True)
            ref.write_text(repository.commit)
        return folder

    def commit_of(self, revision: str) -> str | None:
        """The commit that a branch or tag had when it was downloaded last, whoever did."""
        if COMMIT.fullmatch(revision):
            return revision
        if ".." in revision or revision.startswith("/"):
            return None
        with suppress(OSError, UnicodeDecodeError):
            found = (self.folder / "refs" / (revision or constants.DEFAULT_REVISION)).read_text().strip()
            return found if COMMIT.fullmatch(found) else None
        return None

    def is_whole(self, commit: str) -> bool:
        """Whether the snapshot has what an engine needs: configuration, and every file of weights that its index
        names."""
        return is_whole(self.snapshot(commit))

    def size(self) -> int:
        """Bytes on the disk, of all revisions and of what is on its way."""
        with suppress(OSError):
            return sum(blob.stat().st_size for blob in self.blobs.iterdir() if blob.is_file())
        return 0

    def delete(self) -> int:
        """All of it. Bytes that are free now."""
        freed = self.size()
        shutil.rmtree(self.folder, ignore_errors=True)
        return freed


def is_whole(folder: Path) -> bool:
    if not (folder / "config.json").is_file():
        return False
    weights = {file.name for file in folder.glob("*.safetensors") if file.is_file()}
    with suppress(OSError, ValueError, AttributeError):
        index = json.loads((folder / "model.safetensors.index.json").read_text())
        return set(index["weight_map"].values()) <= weights
    return bool(weights)


def folder_files(folder: Path) -> list[tuple[Path, int]]:
    """What an engine may read of a folder, with bytes."""
    files = [*folder.glob("*"), *folder.glob("*/*")]
    return [
        (file, file.stat().st_size) for file in files if file.is_file() and is_needed(str(file.relative_to(folder)))
    ]


def gb(size: int) -> str:
    """For people, in the units that disks are sold in."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"
