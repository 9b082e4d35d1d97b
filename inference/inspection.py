"""What a model is, before anybody downloads or loads it: kind, size, licence, whether it fits, what speaks against it.

The engine itself says what it would make of it (`inference.engine.inspection`, in a process of its own, for only those
import mlx): its kind, its context, the memory of its caches.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from inference.engine.options import argv, make
from inference.hub.cache import Store, folder_files, gb, is_whole
from inference.hub.client import Hub
from inference.hub.errors import HubError
from inference.hub.repository import MODULE, RepoFile, Repository
from inference.sources import Source, load_path

TELLING = {"config.json", "modules.json", "config_sentence_transformers.json"}
"""Files that say what a model is; of its modules' folders the first."""
ENGINE_SECONDS = 120.0
TOKENS = 4096
"""Of prompt and answer together, for which requests are counted."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Bytes, as the engine would share out this machine's memory."""

    memory: int
    """For models, of this machine."""
    weights: int
    reserve: int
    """For work in progress."""
    rows: int
    """What is left for running requests."""
    prefix_cache: int
    sequence: int | None
    """Of one request of `tokens`; None: it can't be told before the model is loaded."""
    tokens: int
    sequences: int | None
    """Such requests that run at once."""
    longest: int | None
    """Tokens of one request alone."""

    @property
    def is_enough(self) -> bool:
        return self.rows > 0 and self.sequences != 0 and (self.longest is None or self.longest > 0)


@dataclass(frozen=True, slots=True)
class Inspection:
    name: str
    source: str
    revision: str
    commit: str
    """Empty for a folder."""
    size: int
    """Bytes of all that an engine needs."""
    weights_bytes: int
    licence: str
    is_gated: bool
    is_here: bool
    """On this machine, whole."""
    kind: str = ""
    """This and what follows is empty where there is no configuration to read."""
    model_type: str = ""
    architecture: str = ""
    context_length: int = 0
    modalities: list[str] = field(default_factory=list)
    quantisation: str = ""
    problems: list[str] = field(default_factory=list)
    """Why it can't be served anywhere."""
    fit: Fit | None = None

    @property
    def too_large(self) -> str:
        """Why it does not fit into this machine's memory; empty where it does."""
        if self.fit is None or self.fit.is_enough:
            return ""
        fit = self.fit
        needed = fit.weights + fit.reserve + (fit.sequence or 0)
        cache = f", one request of {fit.tokens:,} tokens {gb(fit.sequence)}" if fit.sequence else ""
        return (
            f"it takes {gb(needed)} of memory (weights {gb(fit.weights)}, work in progress {gb(fit.reserve)}{cache}), "
            f"and this machine has {gb(fit.memory)} for models"
        )

    def stored(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {**asdict(self), "too_large": self.too_large}


def inspect_source(
    source: Source, hub: Hub, *, options: Mapping[str, Any] | None = None, tokens: int = TOKENS, commit: str = ""
) -> Inspection:
    """commit: what is downloaded of a hub's already; then the hub is not asked, unless a revision is wanted. Raises
    HubError, Stopped."""
    if not source.is_of_hub:
        return inspect_folder(Path(load_path(source.source)), source, options or {}, tokens=tokens)
    store = Store(source.source)
    if commit and not source.revision and is_whole(store.snapshot(commit)):
        return inspect_folder(store.snapshot(commit), source, options or {}, tokens=tokens, commit=commit)
    return inspect_repository(
        hub, hub.repository(source.source, source.revision), options or {},
        kind=source.kind, tokens=tokens, revision=source.revision,
    )  # fmt: skip


def inspect_repository(
    hub: Hub,
    repository: Repository,
    options: Mapping[str, Any],
    *,
    kind: str = "",
    tokens: int = TOKENS,
    revision: str = "",
) -> Inspection:
    """Fetches some small files for it, and keeps none. Raises HubError, Stopped."""
    with tempfile.TemporaryDirectory(prefix="atelier-inspection-") as name:
        folder = Path(name)
        for file in repository.files:
            first, _, rest = file.path.partition("/")
            if file.path in TELLING or (MODULE.fullmatch(first) and rest == "config.json"):
                (folder / file.path).parent.mkdir(exist_ok=True)
                (folder / file.path).write_bytes(hub.small_file(repository, file))
        found = _told(folder, repository, options, kind=kind, tokens=tokens)
    return Inspection(
        name=repository.id,
        source=repository.id,
        revision=revision,
        commit=repository.commit,
        is_gated=repository.is_gated,
        is_here=is_whole(Store(repository.id).snapshot(repository.commit)),
        licence=repository.licence,
        **found,
    )


def inspect_folder(
    folder: Path, source: Source, options: Mapping[str, Any], *, tokens: int = TOKENS, commit: str = ""
) -> Inspection:
    """Raises HubError."""
    files = folder_files(folder)
    needed = {path for path, _ in files}
    others = [str(path.relative_to(folder)) for path in folder.glob("*") if path not in needed]
    here = [RepoFile(str(path.relative_to(folder)), size, str(path)) for path, size in files]
    repository = Repository(source.source, commit, tuple(here), others=tuple(others))
    found = _told(folder, repository, options, kind=source.kind, tokens=tokens)
    return Inspection(
        name=source.name,
        source=source.source,
        revision=source.revision,
        commit=commit,
        is_gated=False,
        is_here=True,
        licence="",
        **found,
    )


def _told(
    folder: Path, repository: Repository, options: Mapping[str, Any], *, kind: str, tokens: int
) -> dict[str, Any]:
    """Fields of Inspection that the files tell."""
    told: dict[str, Any] = {"size": repository.size, "weights_bytes": repository.weights_size}
    reasons = [reason] if (reason := repository.refusal()) else []
    if not (folder / "config.json").is_file():
        return {**told, "problems": reasons}
    said = ask_engine(folder, repository.weights_size, options, kind=kind, tokens=tokens)
    if "error" in said:
        return {**told, "problems": [*reasons, said["error"]]}
    plan = said.pop("plan")
    fit = Fit(memory=plan.pop("limit"), **plan) if repository.weights_size else None
    return {**told, **said, "problems": [*reasons, *said["problems"]], "fit": fit}


def ask_engine(folder: Path, weights: int, options: Mapping[str, Any], *, kind: str, tokens: int) -> dict[str, Any]:
    """As `inference.engine.inspection` prints it. Raises HubError, OptionError."""
    command = [
        sys.executable, "-m", "inference.engine.inspection", str(folder),
        "--weights", str(weights), "--tokens", str(tokens), *(["--kind", kind] if kind else []),
        *argv(make(options)),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ENGINE_SECONDS, check=True)
        said: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise HubError("broken", f"What the model is could not be told in {ENGINE_SECONDS:.0f} seconds.") from None
    except (subprocess.CalledProcessError, ValueError) as error:
        last = (getattr(error, "stderr", "") or "").strip().splitlines()[-1:] or [type(error).__name__]
        raise HubError("broken", f"What the model is could not be told: {last[0][:200]}") from None
    return said


def lines(found: Inspection) -> list[tuple[str, str]]:
    """What was found, for people: what it is about, and the fact."""
    revision = f"{found.revision or 'main'}, commit {found.commit[:12]}" if found.commit else "-"
    told = [
        ("from", found.source),
        ("revision", revision),
        ("here", "yes" if found.is_here else "no"),
        ("size", f"{gb(found.size)}, of which weights {gb(found.weights_bytes)}"),
        ("licence", (found.licence or "not said") + (", gated" if found.is_gated else "")),
        ("kind", found.kind or "-"),
        ("type", f"{found.model_type} {found.architecture}".strip() or "-"),
        ("reads", ", ".join(found.modalities) or "-"),
        ("context", f"{found.context_length:,} tokens" if found.context_length else "-"),
        ("numbers", found.quantisation or "-"),
    ]
    if fit := found.fit:
        told += [
            ("memory", f"{gb(fit.memory)} for models on this machine"),
            ("", f"{gb(fit.weights)} weights, {gb(fit.reserve)} work in progress"),
            ("", f"{gb(fit.rows)} for requests, {gb(fit.prefix_cache)} for the prefix cache"),
        ]
        if fit.sequence:
            told += [
                ("requests", f"{fit.sequences:,} at once of {fit.tokens:,} tokens, {gb(fit.sequence)} each"),
                ("", f"alone one of up to {fit.longest:,} tokens"),
            ]
    reasons = [*found.problems, *([found.too_large] if found.too_large else [])]
    told.append(("fits", "no: " + "; ".join(reasons) if reasons else "yes"))
    return told
