"""A small server that speaks as Hugging Face's hub does, with faults to order: nothing in the tests reaches the web.

Files stored by LFS (weights) are behind a redirect to another origin, as the hub's are, with a signature in the
address. What it has sent is counted in bytes, by path."""

import hashlib
import json
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

SIGNATURE = "signature-of-the-cdn"
SLOW_PIECE = 16 << 10


def sha1_of(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


@dataclass
class Repo:
    files: dict[str, bytes]
    token: str = ""
    """Whom it is open to; empty: everybody."""
    is_gated: bool = False
    licence: str = "apache-2.0"
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def commit(self) -> str:
        """Makes a commit of its files, to which `main` points from now on."""
        listed = json.dumps({path: sha1_of(content) for path, content in sorted(self.files.items())})
        name = hashlib.sha1(listed.encode()).hexdigest()
        self.commits[name] = dict(self.files)
        self.branches["main"] = name
        return name


Fault = Callable[["Handler", bytes], None]
"""Takes the place of an answer with this content; called once."""


def status(code: int, **headers: str) -> Fault:
    return lambda handler, content: handler.answer(
        code, b"{}", {name.replace("_", "-"): value for name, value in headers.items()}
    )


def cut_after(count: int) -> Fault:
    """Promises all of it, sends so many bytes, and closes the connection."""

    def fault(handler: "Handler", content: bytes) -> None:
        handler.answer(*handler.ranged(content), most=count)
        handler.close_connection = True

    return fault


def wrong_content(handler: "Handler", content: bytes) -> None:
    """As long as it should be."""
    handler.answer(*handler.ranged(bytes(byte ^ 1 for byte in content)))


def without_ranges(handler: "Handler", content: bytes) -> None:
    """All of it, whatever was asked for."""
    handler.answer(200, content, {})


def elsewhere(handler: "Handler", content: bytes) -> None:
    """From the beginning on, though another place was asked for."""
    handler.answer(206, content, {"content-range": f"bytes 0-{len(content) - 1}/{len(content)}"})


def silence(seconds: float) -> Fault:
    def fault(handler: "Handler", content: bytes) -> None:
        handler.hub.closing.wait(seconds)
        handler.close_connection = True

    return fault


def slowly(bytes_per_second: int) -> Fault:
    def fault(handler: "Handler", content: bytes) -> None:
        handler.answer(*handler.ranged(content), pace=SLOW_PIECE / bytes_per_second)

    return fault


class FakeHub:
    """repos by id; faults by path of a file, or `api`, one after another; sent: bytes by path; asked: all requests, as
    (method, origin, path, has a token); resumed: from which byte on files were asked for, where not from the first."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.faults: dict[str, deque[Fault]] = {}
        self.sent: Counter[str] = Counter()
        self.asked: list[tuple[str, str, str, bool]] = []
        self.resumed: list[tuple[str, int]] = []
        self.blobs: dict[str, tuple[str, bytes]] = {}
        self.closing = threading.Event()
        self.url = self.cdn = ""

    def add(self, id: str, files: dict[str, bytes], **options: Any) -> Repo:
        repo = self.repos[id] = Repo(dict(files), **options)
        repo.commit()
        return repo

    def add_folder(self, id: str, folder: Path, **options: Any) -> Repo:
        files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        return self.add(id, files, **options)

    def fail(self, path: str, *faults: Fault) -> None:
        self.faults.setdefault(path, deque()).extend(faults)

    def fault_for(self, path: str) -> Fault | None:
        waiting = self.faults.get(path)
        return waiting.popleft() if waiting else None

    @property
    def requests(self) -> list[str]:
        """Paths, without queries."""
        return [path.partition("?")[0] for _, _, path, _ in self.asked]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub
    is_cdn = False

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        has_token = "authorization" in self.headers
        self.hub.asked.append((self.command, "cdn" if self.is_cdn else "hub", self.path, has_token))
        self.counted = ""
        path = unquote(urlsplit(self.path).path)
        if self.is_cdn:
            name, content = self.hub.blobs[path.rpartition("/")[2]]
            self.file(name, content)
        elif found := re.fullmatch(r"/api/models/(.+)/revision/([^/]+)", path):
            self.info(found[1], found[2])
        elif found := re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", path):
            self.resolve(found[1], found[2], found[3])
        else:
            self.answer(404, b"{}", {"x-error-code": "RepoNotFound"})

    do_HEAD = do_GET

    def info(self, id: str, revision: str) -> None:
        if (fault := self.hub.fault_for("api")) is not None:
            fault(self, b"")
            return
        found = self.repo(id, revision)
        if found is None:
            return
        repo, commit = found
        siblings = [
            {
                "rfilename": path, "size": len(content), "blobId": sha1_of(content),
                **({"lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}}
                   if is_lfs(path) else {}),
            }
            for path, content in repo.commits[commit].items()
        ]  # fmt: skip
        said = {
            "id": id, "modelId": id, "sha": commit, "private": False, "siblings": siblings,
            "gated": "manual" if repo.is_gated else False, "cardData": {"license": repo.licence},
            "tags": [f"license:{repo.licence}"],
        }  # fmt: skip
        self.answer(200, json.dumps(said).encode(), {"content-type": "application/json"})

    def resolve(self, id: str, revision: str, path: str) -> None:
        found = self.repo(id, revision)
        if found is None:
            return
        repo, commit = found
        content = repo.commits[commit].get(path)
        if repo.is_gated and self.headers.get("authorization") != f"Bearer {repo.token}":
            self.answer(403, b"{}", {"x-error-code": "GatedRepo"})
        elif content is None:
            self.answer(404, b"{}", {"x-error-code": "EntryNotFound"})
        elif is_lfs(path):
            digest = hashlib.sha256(content).hexdigest()
            self.hub.blobs[digest] = (path, content)
            self.answer(302, b"", {"location": f"{self.hub.cdn}/blobs/{digest}?X-Signature={SIGNATURE}"})
        else:
            self.file(path, content)

    def repo(self, id: str, revision: str) -> tuple[Repo, str] | None:
        repo = self.hub.repos.get(id)
        if repo is None or (
            repo.token and not repo.is_gated and self.headers.get("authorization") != f"Bearer {repo.token}"
        ):
            # As the hub does for private ones, too.
            self.answer(401, b"{}", {"x-error-code": "RepoNotFound"})
            return None
        commit = repo.branches.get(revision, revision)
        if commit not in repo.commits:
            self.answer(404, b"{}", {"x-error-code": "RevisionNotFound"})
            return None
        return repo, commit

    def file(self, path: str, content: bytes) -> None:
        fault = self.hub.fault_for(path)
        self.counted = path
        if fault is not None:
            fault(self, content)
        else:
            self.answer(*self.ranged(content))

    counted = ""
    """The file whose bytes are sent."""

    def ranged(self, content: bytes) -> tuple[int, bytes, dict[str, str]]:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        if not asked:
            return 200, content, {}
        start = int(asked[1])
        self.hub.resumed.append((self.counted, start))
        if start >= len(content):
            return 416, b"", {"content-range": f"bytes */{len(content)}"}
        return 206, content[start:], {"content-range": f"bytes {start}-{len(content) - 1}/{len(content)}"}

    def answer(
        self, code: int, content: bytes, headers: dict[str, str], *, most: int | None = None, pace: float = 0
    ) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        content = content if most is None else content[:most]
        piece = SLOW_PIECE if pace else max(1, len(content))
        for start in range(0, len(content), piece):
            try:
                self.wfile.write(content[start : start + piece])
                self.wfile.flush()
            except OSError:
                # Whoever asked has gone.
                self.close_connection = True
                return
            if code in (200, 206) and self.counted:
                self.hub.sent[self.counted] += len(content[start : start + piece])
            if pace and self.hub.closing.wait(pace):
                return


def is_lfs(path: str) -> bool:
    return path.endswith((".safetensors", ".bin", ".gguf", "tokenizer.json"))


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    servers = []
    for is_cdn in (False, True):
        handler = type("Handler", (Handler,), {"hub": hub, "is_cdn": is_cdn})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        servers.append(server)
    hub.url, hub.cdn = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    try:
        yield hub
    finally:
        hub.closing.set()
        for server in servers:
            server.shutdown()
            server.server_close()


def wait_until(true: Callable[[], bool], *, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)
