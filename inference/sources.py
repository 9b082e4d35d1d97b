"""Where a model comes from: a folder, a Hugging Face id, or one that ships with Atelier."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from inference.hub.cache import Store, is_whole

BUILTIN_FOLDER = Path(__file__).parent / "builtin" / "models"
BUILTIN_PREFIX = "builtin:"
DEFAULT_MODEL = "builtin:atelier-tiny"

REVISION = re.compile(r"(?!.*\.\.)[\w][\w./-]{0,199}")
"""A branch, a tag or a commit: it becomes a path."""
_HUGGING_FACE_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


class SourceError(ValueError):
    """No model can be at this place; the message says why."""


@dataclass(frozen=True, slots=True)
class Source:
    """name: what requests call the model.  source: what is stored and loaded.  aliases: other names for it.  kind: one
    of `Model.Kind` where the user says what the model is for, else empty.  revision: of a hub's, where one is named."""

    name: str
    source: str
    aliases: tuple[str, ...] = ()
    kind: str = ""
    revision: str = ""

    @property
    def is_of_hub(self) -> bool:
        return is_of_hub(self.source)


def parse_source(given: str) -> Source:
    """What a user wrote behind `serve`: a folder as they call it, a built-in model's name, or a Hugging Face id, which
    may end with `@REVISION`.

    Raises SourceError.
    """
    name = given.removeprefix(BUILTIN_PREFIX)
    if name in builtin_names():
        return Source(name, BUILTIN_PREFIX + name)
    folder = Path(given).expanduser()
    if given and folder.is_dir():
        _check_folder(folder, given)
        folder = folder.resolve()
        aliases = tuple(dict.fromkeys(alias for alias in (given, str(folder)) if alias != folder.name))
        return Source(folder.name, str(folder), aliases)
    id, at, revision = given.partition("@")
    if given.startswith((".", "/", "~", BUILTIN_PREFIX)) or not is_hub_id(id):
        known = ", ".join(sorted(builtin_names()))
        raise SourceError(f"{given}: there is no such folder. Give a folder, a Hugging Face id or one of {known}.")
    if at:
        check_revision(revision)
    return Source(id, id, revision=revision)


def is_hub_id(text: str) -> bool:
    """Whether there could be a model of that id on a hub."""
    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return bool(_HUGGING_FACE_ID.fullmatch(text))


def check_revision(revision: str) -> None:
    """Raises SourceError."""
    if not REVISION.fullmatch(revision):
        raise SourceError(f"{revision[:80]!r} can be no revision: name a branch, a tag or a commit.")


def is_of_hub(source: str) -> bool:
    """Whether it is a Hugging Face id."""
    return not source.startswith((BUILTIN_PREFIX, "/"))


def load_path(source: str, commit: str = "") -> str:
    """The folder that the engine is told to load. commit: what is downloaded of a hub's. Raises SourceError where it is
    not here, or not all of it."""
    if source.startswith(BUILTIN_PREFIX):
        return str(BUILTIN_FOLDER / source.removeprefix(BUILTIN_PREFIX))
    if not is_of_hub(source):
        return source
    folder = Store(source).snapshot(commit) if commit else None
    if folder is None or not is_whole(folder):
        raise SourceError(f"{source} is not downloaded. `atelier download {source}` gets it.")
    return str(folder)


def builtin_names() -> set[str]:
    return {folder.parent.name for folder in BUILTIN_FOLDER.glob("*/config.json")}


def _check_folder(folder: Path, given: str) -> None:
    config = folder / "config.json"
    if not config.is_file():
        raise SourceError(f"{given}: no config.json in this folder, so it holds no model.")
    try:
        contents = json.loads(config.read_text())
    except (ValueError, OSError) as error:
        raise SourceError(f"{given}: its config.json can't be read ({error}).") from error
    if not isinstance(contents, dict) or "model_type" not in contents:
        raise SourceError(f"{given}: its config.json names no model_type.")
