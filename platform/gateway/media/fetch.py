"""Fetches what a URL names, from nowhere but the public internet and the hosts that the operator has listed.

A name is resolved once, all its addresses are checked, and the connection goes to one of these very addresses: what the
name means a moment later (DNS rebinding) plays no part. TLS still proves the name. So with each redirect.
"""

import asyncio
import re
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address

import httpx

from gateway.errors import ApiError, quote
from gateway.media import refusals
from gateway.media.addresses import is_public
from gateway.media.rules import Rules
from gateway.media.source import LONGEST_URL, Remote

MOST_REDIRECTS = 5
MOST_ADDRESSES = 3
"""Of one host, tried one after the other."""
CONNECT_SECONDS = 5.0
RESOLVERS = 8
"""Threads that wait for name servers, which may be slow on purpose."""
USER_AGENT = "Atelier"
HEADERS = {"user-agent": USER_AGENT, "accept": "*/*", "accept-encoding": "identity", "connection": "close"}
DEFAULT_PORTS = {"http": 80, "https": 443}
REDIRECTS = (301, 302, 303, 307, 308)
SUSPICIOUS = re.compile(r"[\x00-\x20\x7f\\]")
"""Characters over which two readers of URLs may differ about where the host ends."""
HOST = re.compile(r"[a-z0-9_.-]+|[0-9a-f:.]+")

Resolve = Callable[[str, int], Sequence[str]]
"""The addresses of a host and port. Blocks. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Destination:
    url: httpx.URL
    host: str
    """In lower case, without a dot at its end; an address in its usual form."""
    port: int
    listed: bool
    """The operator allows it, whatever its addresses."""


class Fetcher:
    """For one event loop. No cookies, no passwords, no proxies from the environment, no connection kept."""

    def __init__(
        self, rules: Rules, *, resolve: Resolve | None = None, certificates: ssl.SSLContext | None = None
    ) -> None:
        """resolve, certificates: in place of the system's and of certifi's (or SSL_CERT_FILE's)."""
        self._rules = rules
        self._resolve = resolve or _resolved
        self._threads = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="media-names")
        self._transport = httpx.AsyncHTTPTransport(
            verify=certificates or httpx.create_ssl_context(),
            trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )

    async def fetch(self, source: Remote, most: int) -> bytes:
        """At most so many bytes. Raises ApiError."""
        try:
            async with asyncio.timeout(self._rules.seconds):
                return await self._follow(source, most)
        except TimeoutError:
            raise refusals.fetch_failed(
                source.where, f"it took longer than {self._rules.seconds:g} s (ATELIER_MEDIA_TIMEOUT)"
            ) from None

    async def close(self) -> None:
        await self._transport.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _follow(self, source: Remote, most: int) -> bytes:
        destination = self._destination(source.url, source.where)
        for _ in range(MOST_REDIRECTS + 1):
            response = await self._asked(destination, source.where)
            try:
                location = response.headers.get("location")
                if response.status_code not in REDIRECTS or location is None:
                    return await _body(response, source, most)
            finally:
                await response.aclose()
            destination = self._redirected(destination, location, source.where)
        raise refusals.fetch_failed(source.where, f"it redirects more than {MOST_REDIRECTS} times")

    def _destination(self, text: str, where: str) -> Destination:
        if SUSPICIOUS.search(text) or len(text) > LONGEST_URL:
            raise refusals.invalid(where, "is no valid URL: it has spaces, control characters or backslashes in it")
        try:
            url = httpx.URL(text)
        except (httpx.InvalidURL, ValueError):
            raise refusals.invalid(where, "is no valid URL") from None
        if url.scheme not in DEFAULT_PORTS:
            raise refusals.forbidden(where, f"leads to a URL that is neither http nor https but {quote(url.scheme)}")
        if url.userinfo:
            raise refusals.forbidden(where, "has a user name or password in it, and none is ever sent")
        host = url.raw_host.decode("ascii").lower().rstrip(".")
        port = url.port if url.port is not None else DEFAULT_PORTS[url.scheme]
        if not HOST.fullmatch(host) or not 0 < port < 65536:
            raise refusals.invalid(where, "is no valid URL: its host or its port can't be one")
        if ":" in host:
            try:
                host = ip_address(host).compressed
            except ValueError:
                raise refusals.invalid(where, "is no valid URL: its host can't be one") from None
        return Destination(url, host, port, self._rules.lists(host, port))

    def _redirected(self, before: Destination, location: str, where: str) -> Destination:
        try:
            url = before.url.join(location)
        except (httpx.InvalidURL, ValueError):
            raise refusals.fetch_failed(where, "it redirects to what is no valid URL") from None
        after = self._destination(str(url), where)
        if before.url.scheme == "https" and after.url.scheme == "http" and not after.listed:
            raise refusals.forbidden(where, "redirects from https to http")
        return after

    async def _addresses(self, destination: Destination, where: str) -> Sequence[str]:
        """Checked ones. Raises ApiError if any of the host's is not public."""
        loop = asyncio.get_running_loop()
        asked = partial(self._resolve, destination.host, destination.port)
        try:
            addresses = list(dict.fromkeys(await loop.run_in_executor(self._threads, asked)))
        except (OSError, UnicodeError):
            addresses = []
        if not addresses:
            raise refusals.fetch_failed(where, f"the host {quote(destination.host)} is not known")
        if not destination.listed and not all(map(is_public, addresses)):
            raise refusals.forbidden(
                where,
                f"leads to {quote(destination.host)}, which is not on the public internet; whoever runs this server "
                "can allow the host (--allow-media-host)",
            )
        return addresses[:MOST_ADDRESSES]

    async def _asked(self, destination: Destination, where: str) -> httpx.Response:
        """The response, its body not read yet; to be closed. Raises ApiError."""
        *others, last = await self._addresses(destination, where)
        for address in others:
            try:
                return await self._transport.handle_async_request(self._request(destination, address))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
            except httpx.TransportError as error:
                raise _failed(error, where) from None
        try:
            return await self._transport.handle_async_request(self._request(destination, last))
        except httpx.TransportError as error:
            raise _failed(error, where) from None

    def _request(self, destination: Destination, address: str) -> httpx.Request:
        return httpx.Request(
            "GET",
            destination.url.copy_with(host=address, fragment=None),
            headers={"host": destination.url.netloc.decode("ascii"), **HEADERS},
            extensions={
                # The name that the certificate has to be for.
                "sni_hostname": destination.host,
                "timeout": {
                    "connect": CONNECT_SECONDS, "read": self._rules.seconds, "write": CONNECT_SECONDS, "pool": None,
                },
            },
        )  # fmt: skip


def _resolved(host: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def _failed(error: httpx.TransportError, where: str) -> ApiError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return refusals.fetch_failed(where, "its host does not prove who it is (TLS)")
        cause = cause.__cause__ or cause.__context__
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout():
            return refusals.fetch_failed(where, "its host can't be reached")
        case httpx.RemoteProtocolError():
            return refusals.fetch_failed(where, "its host answers with something that is no HTTP, or breaks off")
        case _:
            return refusals.fetch_failed(where, "the connection to its host was lost")


async def _body(response: httpx.Response, source: Remote, most: int) -> bytes:
    if response.status_code != 200:
        raise refusals.fetch_failed(source.where, f"its host answered with status {response.status_code}")
    length = response.headers.get("content-length", "")
    if length.isascii() and length.isdecimal() and int(length[:20]) > most:
        raise refusals.too_large(source.where, source.kind, most)
    data = bytearray()
    async for piece in _unpacked(response, source, most):
        data += piece
        if len(data) > most:
            raise refusals.too_large(source.where, source.kind, most)
    return bytes(data)


async def _unpacked(response: httpx.Response, source: Remote, most: int) -> AsyncIterator[bytes]:
    """We ask for no compression, but some hosts compress anyway. Never makes much more than `most` bytes of a piece."""
    where, received = source.where, 0
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "x-gzip"):
        raise refusals.fetch_failed(where, f"its host compresses it as {quote(encoding)}, which it was not asked to")
    unzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if "gzip" in encoding else None
    try:
        async for piece in response.aiter_raw():
            received += len(piece)
            if received > most:
                raise refusals.too_large(where, source.kind, most)
            yield piece if unzip is None else unzip.decompress(piece, most + 1)
    except zlib.error:
        raise refusals.fetch_failed(where, "what its host compressed is damaged") from None
    except httpx.TransportError as error:
        raise _failed(error, where) from None
    if unzip is not None and not unzip.eof:
        raise refusals.fetch_failed(where, "its end is missing")
