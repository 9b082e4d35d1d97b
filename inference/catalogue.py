"""What models there are for an operator: known here, built in, or in Hugging Face's cache; where each is, how large,
and what becomes of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from inference.hub.cache import Store, folder_files, root
from inference.library import is_here
from inference.models import Download, Model
from inference.sources import BUILTIN_PREFIX, builtin_names, is_hub_id, is_of_hub, load_path

Origin = Literal["built in", "folder", "hub"]
State = Literal["here", "missing", "not downloaded", "waiting", "downloading", "failed", "cancelled", "unknown"]
"""missing: its folder, or what was downloaded, is gone. failed, cancelled: its last download, and nothing is here.
unknown: it is in the cache whole, and nobody has added it."""
STATE_OF: dict[str, State] = {
    "waiting": "waiting",
    "running": "downloading",
    "failed": "failed",
    "cancelled": "cancelled",
}


@dataclass(frozen=True, slots=True)
class Listed:
    name: str
    origin: Origin
    state: State
    size: int
    """Bytes on this machine's disk."""
    model: Model | None
    """None for one that is not known yet."""
    download: Download | None
    """The newest."""
    served: list[str]
    """On which hosts it should be."""

    @property
    def percent(self) -> int | None:
        download = self.download
        if download is None or not download.bytes_total or download.state == Download.State.DONE:
            return None
        return 100 * download.bytes_done // download.bytes_total

    @property
    def kind(self) -> str:
        if self.model is None:
            return ""
        return self.model.kind or str(self.model.facts.get("kind", ""))

    @property
    def state_label(self) -> str:
        shown = self.percent if self.state in ("waiting", "downloading", "failed", "cancelled") else None
        return self.state if shown is None else f"{self.state}, {shown} %"

    def shown(self) -> dict[str, Any]:
        """As JSON takes it."""
        model, download = self.model, self.download
        return {
            "id": model.pk if model else None,
            "name": self.name,
            "origin": self.origin,
            "source": model.source if model else self.name,
            "state": self.state,
            "kind": self.kind,
            "size": self.size,
            "revision": model.revision if model else "",
            "commit": model.commit if model else "",
            "aliases": model.aliases if model else [],
            "served": self.served,
            "download": shown_download(download) if download else None,
        }


def listed() -> list[Listed]:
    """By name. Three queries, and some looks at the disk for each."""
    models = list(Model.objects.prefetch_related("deployments", "downloads"))
    found = [listed_model(model) for model in models]
    known = {model.source for model in models}
    for name in builtin_names():
        if BUILTIN_PREFIX + name not in known:
            size = size_of(BUILTIN_PREFIX + name)
            found.append(Listed(name, "built in", "here", size, None, None, []))
    for folder in root().glob("models--*"):
        id = folder.name.removeprefix("models--").replace("--", "/")
        if id in known or not is_hub_id(id):
            continue
        store = Store(id)
        commit = store.commit_of("")
        if commit and store.is_whole(commit):
            found.append(Listed(id, "hub", "unknown", store.size(), None, None, []))
    return sorted(found, key=lambda each: each.name)


def listed_model(model: Model) -> Listed:
    download = next(iter(model.downloads.all()), None)
    origin: Origin = (
        "built in" if model.source.startswith(BUILTIN_PREFIX) else "hub" if is_of_hub(model.source) else "folder"
    )
    state: State
    if origin != "hub":
        state = "here" if (Path(load_path(model.source)) / "config.json").is_file() else "missing"
    elif download and not download.is_finished():
        state = STATE_OF[download.state]
    elif is_here(model):
        state = "here"
    elif model.commit:
        state = "missing"
    else:
        state = STATE_OF.get(download.state, "not downloaded") if download else "not downloaded"
    hosts = [deployment.host for deployment in model.deployments.all()]
    return Listed(model.name, origin, state, size_of(model.source), model, download, hosts)


def size_of(source: str) -> int:
    if is_of_hub(source):
        return Store(source).size()
    return sum(size for _, size in folder_files(Path(load_path(source))))


def shown_download(download: Download) -> dict[str, Any]:
    """As JSON takes it."""
    return {
        "id": download.pk,
        "model": download.model.name,
        "revision": download.revision,
        "commit": download.commit,
        "state": download.state,
        "bytes_done": download.bytes_done,
        "bytes_total": download.bytes_total,
        "files_done": download.files_done,
        "files_total": download.files_total,
        "bytes_per_second": download.rate,
        "error": download.error,
        "error_code": download.error_code,
        "created_at": download.created_at.isoformat(),
        "ended_at": download.ended_at.isoformat() if download.ended_at else None,
    }
