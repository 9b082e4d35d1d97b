"""Where a model comes from: a folder, a Hugging Face id, or one that ships with Atelier."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

BUILTIN_FOLDER = Path(__file__).parent / "builtin" / "models"
BUILTIN_PREFIX = "builtin:"
DEFAULT_MODEL = "builtin:atelier-tiny"

_HUGGING_FACE_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


class SourceError(ValueError):
    """No model can be at this place; the message says why."""


@dataclass(frozen=True, slots=True)
class Source:
    """name: what requests call the model.  source: what is stored and loaded.  aliases: other names for it.  kind: one
    of `Model.Kind` where the user says what the model is for, else empty."""

    name: str
    source: str
    aliases: tuple[str, ...] = ()
    kind: str = ""


def parse_source(given: str) -> Source:
    """What a user wrote behind `serve`: a folder as they call it, a built-in model's name, or a Hugging Face id.

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
    if given.startswith((".", "/", "~", BUILTIN_PREFIX)) or not _HUGGING_FACE_ID.fullmatch(given):
        known = ", ".join(sorted(builtin_names()))
        raise SourceError(f"{given}: there is no such folder. Give a folder, a Hugging Face id or one of {known}.")
    return Source(given, given)


def load_path(source: str) -> str:
    """What the engine is told to load: a folder's path or a Hugging Face id."""
    if source.startswith(BUILTIN_PREFIX):
        return str(BUILTIN_FOLDER / source.removeprefix(BUILTIN_PREFIX))
    return source


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
