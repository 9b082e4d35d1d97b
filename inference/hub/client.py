"""Asks a hub: with a time limit, again after faults that pass, never more often than it allows."""

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from time import time
from typing import Any
from urllib.parse import quote

import httpx
from huggingface_hub import constants, get_token

from inference.hub.errors import Again, HubError, Stopped
from inference.hub.repository import RepoFile, Repository, read_repository

LONGEST_PAUSE = 60.0
"""Seconds between two attempts where the server has not named any."""
MOST_PATIENCE = 300.0
"""Seconds that it may ask for; for longer than that somebody should decide."""
PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Statuses that may be another one the next time."""
MOST_SMALL = 16 << 20
"""Bytes of a file that is read whole; a large tokenizer has more, but says nothing of a model."""


class Patience:
    """How often something may fail in a row, and how long to wait in between."""

    def __init__(self, what: str, retries: int, stop: threading.Event):
        """what: how a message begins."""
        self._what = what
        self._retries = retries
        self._stop = stop
        self._failures = 0

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self, why: Again) -> None:
        """Waits until the next attempt is due. Raises HubError where this was the last one, Stopped."""
        self._failures += 1
        if why.after is not None and why.after > MOST_PATIENCE:
            raise HubError(
                "busy",
                f"{self._what}: {why}, and it asks to come back in {why.after / 60:.0f} minutes. Try again then.",
            )
        if self._failures > self._retries:
            times = "" if self._failures == 1 else f", {self._failures} times in a row"
            raise HubError(
                why.code,
                f"{self._what}: {why}{times}. What was fetched is kept: try again, with more --retries if need be.",
            )
        pause = min(LONGEST_PAUSE, 2.0 ** (self._failures - 1)) * random.uniform(0.5, 1)
        if self._stop.wait(why.after if why.after is not None else pause):
            raise Stopped


class Hub:
    """retries: attempts after the first that may fail in a row. timeout: seconds without a byte. stop: ends it all.

    A token is read as huggingface_hub reads it (HF_TOKEN, or what `hf auth login` has stored), and sent to the hub
    alone, not to where it redirects."""

    def __init__(
        self, *, timeout: float, retries: int, offline: bool = False, stop: threading.Event | None = None
    ) -> None:
        self.stop = stop or threading.Event()
        self._retries = retries
        self._offline = offline or constants.HF_HUB_OFFLINE
        self._url = constants.ENDPOINT
        token = get_token()
        headers = {
            "User-Agent": f"atelier/{version('atelier')}",
            # What is counted and gone on with is the file's bytes, not a compression's.
            "Accept-Encoding": "identity",
            **({"Authorization": f"Bearer {token}"} if token else {}),
        }
        self._client = httpx.Client(headers=headers, timeout=timeout, follow_redirects=True)
        self._timeout = timeout
        self._sockets: set[socket.socket] = set()

    def __enter__(self) -> "Hub":
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.close()

    def abort(self) -> None:
        """Ends what any thread reads just now."""
        self.stop.set()
        for each in list(self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def patience(self, what: str) -> Patience:
        return Patience(what, self._retries, self.stop)

    def repository(self, id: str, revision: str = "") -> Repository:
        """Raises HubError, Stopped."""
        self._check_online(id)
        path = f"/api/models/{quote(id)}/revision/{quote(revision or constants.DEFAULT_REVISION, safe='')}"
        content = self._whole(id, path, params={"blobs": "true"})
        try:
            said = httpx.Response(200, content=content).json()
        except ValueError:
            said = None
        return read_repository(said, id)

    def small_file(self, repository: Repository, file: RepoFile) -> bytes:
        """Its content, whole. Raises HubError, Stopped."""
        if file.size > MOST_SMALL:
            raise HubError("refused", f"{repository.id}: {file.path} has {file.size:,} bytes, which makes no sense.")
        return self._whole(f"{repository.id}, {file.path}", self._path_of(repository, file))

    @contextmanager
    def reading(self, repository: Repository, file: RepoFile, start: int) -> Iterator[httpx.Response]:
        """The answer to asking for what is in a file from byte `start` on: 206, or 200 with all of it; 416. Raises
        HubError, Again, Stopped."""
        self._check_online(repository.id)
        headers = {"Range": f"bytes={start}-"} if start else {}
        try:
            with self._client.stream("GET", self._url + self._path_of(repository, file), headers=headers) as response:
                if response.status_code not in (200, 206, 416):
                    response.read()
                    raise problem(response, repository.id)
                with self._abortable(response):
                    yield response
        except httpx.HTTPError as error:
            if self.stop.is_set():
                raise Stopped from error
            raise self._again(error) from error

    def _whole(self, what: str, path: str, params: dict[str, str] | None = None) -> bytes:
        patience = self.patience(what)
        while not self.stop.is_set():
            try:
                response = self._client.get(self._url + path, params=params)
                if response.status_code == 200:
                    return response.content
                raise problem(response, what.partition(",")[0])
            except httpx.HTTPError as error:
                patience.failed(self._again(error))
            except Again as error:
                patience.failed(error)
        raise Stopped

    def _path_of(self, repository: Repository, file: RepoFile) -> str:
        return f"/{quote(repository.id)}/resolve/{repository.commit}/{quote(file.path)}"

    def _check_online(self, id: str) -> None:
        if self._offline:
            raise HubError(
                "offline", f"{id} would have to be fetched, and this is offline (ATELIER_OFFLINE, HF_HUB_OFFLINE)."
            )

    def _again(self, error: httpx.HTTPError) -> Again:
        """Without the error's own words, which may hold an address with a signature."""
        match error:
            case httpx.TimeoutException():
                return Again(f"the hub said nothing for {self._timeout:g} seconds")
            case httpx.ConnectError():
                return Again(f"{self._url} can't be reached")
            case httpx.TooManyRedirects() | httpx.UnsupportedProtocol() | httpx.ProxyError():
                return Again(f"the way to the hub is blocked ({type(error).__name__})")
        return Again("the connection was cut")

    @contextmanager
    def _abortable(self, response: httpx.Response) -> Iterator[None]:
        stream: Any = response.extensions.get("network_stream")
        connection = stream.get_extra_info("socket") if stream else None
        if connection is None:
            yield
            return
        self._sockets.add(connection)
        try:
            if self.stop.is_set():
                raise Stopped
            yield
        finally:
            self._sockets.discard(connection)


def problem(response: httpx.Response, id: str) -> HubError | Again:
    """What an answer without the thing that was asked for means. The codes are the hub's own."""
    status, code = response.status_code, response.headers.get("x-error-code", "")
    if status in PASSING:
        after = retry_after(response.headers.get("retry-after", ""))
        if status == 429:
            return Again("the hub takes no more requests just now (429)", after=after, code="busy")
        return Again(f"the hub has a fault ({status})", after=after)
    page = f"{constants.ENDPOINT}/{id}"
    if code == "GatedRepo":
        return HubError(
            "gated",
            f"{id} is gated: its publisher wants you to agree to something first. Do so on {page}, then set "
            "HF_TOKEN to a token of that account.",
        )
    if code == "RevisionNotFound":
        return HubError("no_revision", f"{id} has no such revision. Name a branch, a tag or a whole commit of it.")
    if code == "EntryNotFound":
        return HubError("broken", f"{id}: the hub lists a file that it does not have. Try again later.")
    if code == "RepoNotFound" or status in (401, 404):
        return HubError(
            "not_found",
            f"There is no model {id} on the hub, or it is private: mind a typo, or set HF_TOKEN to a token that "
            "may read it.",
        )
    if status == 403:
        return HubError(
            "forbidden", f"{id}: the hub forbids it (403). Does the token in HF_TOKEN have the right to read it?"
        )
    return HubError("broken", f"{id}: the hub answers with status {status}. Is HF_ENDPOINT right?")


def retry_after(header: str) -> float | None:
    """Seconds, from seconds or a date."""
    if header.isascii() and header.isdigit():
        return float(header[:9])
    with suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(header).timestamp() - time())
    return None
