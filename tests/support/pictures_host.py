"""Where pictures lie on the web: two servers on this machine, one whose host the operator has listed, and one that
nothing may be fetched from."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.pictures import picture, png

PAGE = b"<!doctype html><html><body><img src=red.png></body></html>"


@dataclass
class Host:
    """What one of them serves by path, and what it was asked for."""

    pages: Mapping[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    port: int = 0
    asked: list[str] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, path: str) -> str:
        return f"http://{self.name}/{path}"


@dataclass
class Web:
    listed: Host
    private: Host
    """That of somebody else, on the same machine."""


@contextmanager
def pictures_on_the_web() -> Iterator[Web]:
    red = png(picture("red", "circle"))
    pages = {"red.png": red, "blue.png": png(picture("blue", "square")), "page.png": PAGE, "cut.png": red[:200]}
    with _serving(Host(pages)) as listed, _serving(Host(pages)) as private:
        listed.redirects = {
            "here.png": listed.url("red.png"),
            "elsewhere.png": private.url("red.png"),
            "file.png": "file:///etc/passwd",
        }
        yield Web(listed, private)


@contextmanager
def _serving(host: Host) -> Iterator[Host]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.removeprefix("/")
            host.asked.append(path)
            if path == "slow.png":
                # Until nobody waits for it any more.
                host.closing.wait(30)
            if path in host.redirects:
                self._answer(302, b"", {"location": host.redirects[path]})
            elif path in host.pages:
                self._answer(200, host.pages[path], {"content-type": "image/png"})
            else:
                self._answer(404, b"", {})

        def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            with suppress(ConnectionError):  # nobody waits any more
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        host.port = server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield host
        finally:
            host.closing.set()
            server.shutdown()
