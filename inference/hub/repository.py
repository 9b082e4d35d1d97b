"""What a hub says of a model: its files with their hashes, its licence, who may have it."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from inference.hub.errors import HubError

COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
NEEDED = (".json", ".jsonl", ".txt", ".jinja", ".model", ".tiktoken")
"""Ends of the names of what goes with weights: configuration, tokenizer, template. Never a program."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5")
MODULE = re.compile(r"\d+_\w+")
"""A folder of sentence-transformers' files."""
OTHER_WEIGHTS = re.compile(r"consolidated.*\.safetensors")
"""The same weights once more, in the publisher's own format."""


@dataclass(frozen=True, slots=True)
class RepoFile:
    """etag: the hash that it is known by, SHA-256 of what is stored by LFS, git's of the rest."""

    path: str
    size: int
    etag: str

    @property
    def is_weights(self) -> bool:
        return self.path.endswith(".safetensors")

    def hasher(self) -> "hashlib._Hash":
        """Fed with its content, this comes to `etag`."""
        if SHA256.fullmatch(self.etag):
            return hashlib.sha256()
        return hashlib.sha1(f"blob {self.size}\0".encode(), usedforsecurity=False)


@dataclass(frozen=True, slots=True)
class Repository:
    """A model as it is at one commit."""

    id: str
    commit: str
    files: tuple[RepoFile, ...]
    licence: str = ""
    is_gated: bool = False
    """Its publisher lets only those have it who have agreed to something."""
    others: tuple[str, ...] = field(default=(), repr=False)
    """Files that nothing here has a use for."""

    @property
    def size(self) -> int:
        """Bytes of all that is needed."""
        return sum(file.size for file in unique(self.files))

    @property
    def weights_size(self) -> int:
        return sum(file.size for file in self.files if file.is_weights)

    def refusal(self) -> str:
        """Why nothing of it could be served; empty where something may."""
        if not any(file.path == "config.json" for file in self.files):
            return "it has no config.json, so it is no model that mlx-lm or mlx-vlm could load"
        if self.weights_size:
            return ""
        if any(name.endswith(".gguf") for name in self.others):
            return "its weights are GGUF files; look for a version with safetensors, for example of mlx-community"
        if any(name.endswith(PICKLES) for name in self.others):
            return "its weights are pickles, which can run any code when they are read; look for one with safetensors"
        return "it has no weights (no .safetensors file)"


def unique(files: Iterable[RepoFile]) -> list[RepoFile]:
    """Each content once: several files may be the same."""
    return list({file.etag: file for file in files}.values())


def read_repository(said: Any, id: str) -> Repository:
    """Of the hub's answer to `/api/models/ID/revision/REVISION?blobs=true`. Raises HubError for what makes no sense:
    hashes and paths become names of files."""
    try:
        commit = str(said["sha"])
        files = [_file(each) for each in said["siblings"]]
        card = said.get("cardData")
        tags = [str(tag) for tag in said.get("tags") or []]
        gated = said.get("gated")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _nonsense(id) from error
    if not COMMIT.fullmatch(commit):
        raise _nonsense(id)
    needed = [file for file in files if is_needed(file.path)]
    return Repository(
        id=id,
        commit=commit,
        files=tuple(sorted(needed, key=lambda file: file.path)),
        licence=_licence(card if isinstance(card, Mapping) else {}, tags),
        is_gated=bool(gated),
        others=tuple(file.path for file in files if not is_needed(file.path)),
    )


def is_needed(path: str) -> bool:
    """Whether an engine reads it. No code, no other format's weights, nothing of training."""
    folder, _, name = path.rpartition("/")
    if name.startswith(".") or (folder and not MODULE.fullmatch(folder)) or OTHER_WEIGHTS.fullmatch(name):
        return False
    return name.endswith((*NEEDED, ".safetensors"))


def _file(each: Mapping[str, Any]) -> RepoFile:
    path = str(each["rfilename"])
    lfs = each.get("lfs")
    etag, size = (lfs["sha256"], lfs["size"]) if lfs else (each["blobId"], each["size"])
    parts = PurePosixPath(path).parts
    if not path.isprintable() or not parts or parts[0] == "/" or ".." in parts or "\\" in path:
        raise ValueError("a path that leads elsewhere")
    if not (SHA256 if lfs else COMMIT).fullmatch(str(etag)) or isinstance(size, bool) or int(size) < 0:
        raise ValueError("no hash")
    return RepoFile(path, int(size), str(etag))


def _licence(card: Mapping[str, Any], tags: list[str]) -> str:
    named = card.get("license_name") if card.get("license") == "other" else None
    found = named or card.get("license") or next((tag[8:] for tag in tags if tag.startswith("license:")), "")
    if isinstance(found, list):
        found = ", ".join(map(str, found))
    return str(found)[:100] if str(found).isprintable() else ""


def _nonsense(id: str) -> HubError:
    return HubError(
        "broken", f"{id}: what the hub says of it makes no sense. Is HF_ENDPOINT the address of a Hugging Face hub?"
    )
