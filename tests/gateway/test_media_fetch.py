"""Fetching media: what must never be fetched isn't, and what may be can't hurt."""

import asyncio
import gzip
import socket
import ssl
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ApiError
from gateway.media import fetch as fetching
from gateway.media.addresses import is_public
from gateway.media.fetch import Fetcher, Resolve
from gateway.media.reader import AT_ONCE_PER_REQUEST, MediaReader
from gateway.media.rules import Kind, Rules
from gateway.media.source import Remote
from tests.support.media_made import png
from tests.support.site import Answer, Site, Visit, certificate, page, redirect

WHERE = "messages[0].content[0].image_url.url"
PICTURE = png()
LOCAL = "127.0.0.1"


def rules(*hosts: tuple[str, int | None], largest: int = 100_000, seconds: float = 20, most: int = 300) -> Rules:
    return Rules(folder=None, hosts=hosts, largest=dict.fromkeys(Kind, largest), most=most, seconds=seconds)


def names(**table: str) -> Resolve:
    """Resolves `a.test` as `a`."""

    def resolve(host: str, port: int) -> Sequence[str]:
        if (found := table.get(host.removesuffix(".test"))) is None:
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        return found.split()

    return resolve


@asynccontextmanager
async def fetcher(
    by: Rules, resolve: Resolve | None = None, certificates: ssl.SSLContext | None = None
) -> AsyncIterator[Fetcher]:
    made = Fetcher(by, resolve=resolve, certificates=certificates)
    try:
        yield made
    finally:
        await made.close()


async def fetched(url: str, by: Rules, **options: Any) -> bytes:
    async with fetcher(by, **options) as made:
        return await made.fetch(Remote(Kind.IMAGE, WHERE, url), by.largest[Kind.IMAGE])


async def refused(url: str, by: Rules, **options: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await fetched(url, by, **options)
    error = caught.value
    assert (error.status, error.type, error.param) == (400, "invalid_request_error", WHERE)
    assert error.message.startswith(f"`{WHERE}` ")
    return error


# --- What may be fetched -------------------------------------------------------------------------------------------


async def test_a_picture_of_a_listed_host() -> None:
    async with Site(page(PICTURE, "set-cookie: a=b", "content-type: text/html")) as site:
        url = f"http://{LOCAL}:{site.port}/a/b.png?c=d%20e#f"
        assert await fetched(url, rules((LOCAL, None))) == PICTURE
        assert await fetched(url, rules((LOCAL, site.port))) == PICTURE
        assert (await refused(url, rules((LOCAL, site.port + 1)))).code == "media_url_forbidden"
        assert (await refused(url, rules())).code == "media_url_forbidden"
        assert (await refused(url, rules(("localhost", None)))).code == "media_url_forbidden"
    assert len(site.visits) == 2 == site.connections, "the others did not even connect"
    visit = site.visits[0]
    assert (visit.method, visit.path) == ("GET", "/a/b.png?c=d%20e")
    assert visit.headers == {
        "host": f"{LOCAL}:{site.port}",
        "user-agent": "Atelier",
        "accept": "*/*",
        "accept-encoding": "identity",
        "connection": "close",
    }


async def test_no_cookies_no_proxies_no_passwords(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text(f"machine {LOCAL} login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with Site(page(PICTURE, "set-cookie: a=b")) as site, fetcher(rules((LOCAL, None))) as made:
        for _ in range(2):
            assert await made.fetch(Remote(Kind.IMAGE, WHERE, f"http://{LOCAL}:{site.port}/"), 1000) == PICTURE
    assert all(not visit.headers.keys() & {"cookie", "authorization", "referer"} for visit in site.visits)


async def test_names_are_told_to_their_hosts() -> None:
    async with Site(page(PICTURE)) as site:
        by = rules(("pictures.test", None), ("xn--bcher-kva.test", None))
        resolve = names(**{"pictures": LOCAL, "xn--bcher-kva": LOCAL})
        for host in ("Pictures.TEST", "pictures.test.", "bücher.test"):
            assert await fetched(f"http://{host}:{site.port}/", by, resolve=resolve) == PICTURE
    assert [visit.headers["host"] for visit in site.visits] == [
        f"{host}:{site.port}" for host in ("pictures.test", "pictures.test.", "xn--bcher-kva.test")
    ]


# --- Where nobody may go -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
        "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1",
        "192.168.1.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1",
        "255.255.255.255", "::", "::1", "::2", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1",
        "2001:0:7f00:1::", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::", "2002:a00:1::1",
        "2002:a9fe:a9fe::", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%1", "fec0::1",
        "ff02::1", "2606:4700:0:0:0:5efe:7f00:1", "2606:4700::200:5efe:c0a8:101", "nonsense",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1", "8.8.8.8", "93.184.215.14", "100.63.255.255", "100.128.0.1", "172.15.255.255", "172.32.0.1",
        "192.0.1.1", "198.20.0.1", "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::200e", "2001:4860:4860::8888",
        "64:ff9b::808:808", "2002:808:808::1", "::ffff:8.8.8.8", "2606:4700::200:5efe:808:808",
    ],
)  # fmt: skip
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "0",
        "0.0.0.0", "localhost", "LOCALHOST", "localhost.", "127。0。0。1", "①②⑦.⓪.⓪.①", "１２７.0.0.1", "[::1]", "[::]",
        "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
        "[fe80::1%25lo]", "[fe80::1%lo]", "127.0.0.1.", "127.0.0.1%00.example.com", "127.0.0.1%2eexample.com",
        "a@127.0.0.1", "example.com:b@127.0.0.1", "example.com\\@127.0.0.1", ":@127.0.0.1", "169.254.169.254",
        "metadata.google.internal", "0x7f.0x0.0x0.0x1", "00000177.0.0.1", "127.0.0.1\t", "127.0.0.1\r\nx: y",
    ],
)  # fmt: skip
async def test_this_machine_by_any_other_name(host: str) -> None:
    """With the system's own resolver, on a port where somebody listens."""
    async with Site(page(PICTURE)) as site:
        error = await refused(f"http://{host}:{site.port}/", rules(seconds=5))
        assert error.code in ("media_url_forbidden", "invalid_media", "media_fetch_failed")
    assert site.connections == 0


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1#@example.com/", "media_url_forbidden"),
        ("http://127.0.0.1?@example.com/", "media_url_forbidden"),
        ("http://127.0.0.1/@example.com/", "media_url_forbidden"),
        ("http://user:password@pictures.test/", "media_url_forbidden"),
        ("http://user@pictures.test/", "media_url_forbidden"),
        ("http://", "invalid_media"),
        ("http:///path", "invalid_media"),
        ("http:pictures.test", "invalid_media"),
        ("http://pictures.test:0/", "invalid_media"),
        ("http://pictures.test:65536/", "invalid_media"),
        ("http://pictures.test:-1/", "invalid_media"),
        ("http://pictures.test:a/", "invalid_media"),
        ("http://pic tures.test/", "invalid_media"),
        ("http://pictures.test/a b", "invalid_media"),
        ("http://pictures.test/\r\nx-evil: 1", "invalid_media"),
        ("http://pictures\\.test/", "invalid_media"),
        ("http://pictures*.test/", "invalid_media"),
        ("http://<b>/", "invalid_media"),
        ("http://[::1/", "invalid_media"),
        ("http://[nonsense]/", "invalid_media"),
        ("http://" + "a" * 300 + "/", "media_fetch_failed"),
        ("http://unknown.test/", "media_fetch_failed"),
        ("http://private.test/", "media_url_forbidden"),
        ("http://mixed.test/", "media_url_forbidden"),
        ("http://metadata.test/", "media_url_forbidden"),
        ("http://nothing.test/", "media_fetch_failed"),
    ],
)
async def test_addresses_that_are_refused(url: str, code: str) -> None:
    resolve = names(
        private="10.0.0.1", **{LOCAL: LOCAL}, mixed="8.8.8.8 10.0.0.1", metadata="fd00:ec2::254", nothing=""
    )
    error = await refused(url, rules(), resolve=resolve)
    assert error.code == code
    assert "password" not in error.message.split("user name")[0] and "10.0.0.1" not in error.message


async def test_a_slow_resolver_is_not_waited_for() -> None:
    def resolve(host: str, port: int) -> Sequence[str]:
        enough.wait(5)
        return [LOCAL]

    enough = threading.Event()
    error = await refused("http://a.test/", rules(seconds=0.2), resolve=resolve)
    enough.set()
    assert error.code == "media_fetch_failed" and "ATELIER_MEDIA_TIMEOUT" in error.message


# --- What a name means a moment later ------------------------------------------------------------------------------


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.fixture
def only_v4_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.1 stands for the public internet, ::1 for what is private: both can be listened on."""
    monkeypatch.setattr(fetching, "is_public", lambda address: address == LOCAL)


@pytest.mark.skipif(not has_ipv6(), reason="needs ::1")
@pytest.mark.usefixtures("only_v4_is_public")
async def test_a_name_that_changes_between_check_and_connection() -> None:
    answers = iter([LOCAL, "::1", "::1"])
    asked: list[str] = []

    def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return [next(answers)]

    async with Site(page(PICTURE)) as public, Site(page(b"secret"), host="::1", port=public.port) as private:
        url = f"http://rebinding.test:{public.port}/"
        async with fetcher(rules(), resolve) as made:
            assert await made.fetch(Remote(Kind.IMAGE, WHERE, url), 1000) == PICTURE
            assert asked == ["rebinding.test"], "what was checked is what was connected to"
            with pytest.raises(ApiError) as caught:
                await made.fetch(Remote(Kind.IMAGE, WHERE, url), 1000)
        assert caught.value.code == "media_url_forbidden"
        assert (public.connections, private.connections) == (1, 0)


@pytest.mark.skipif(not has_ipv6(), reason="needs ::1")
@pytest.mark.usefixtures("only_v4_is_public")
async def test_a_name_with_one_private_address_among_public_ones() -> None:
    async with Site(page(PICTURE)) as public, Site(page(b"secret"), host="::1", port=public.port) as private:
        for both in (f"{LOCAL} ::1", f"::1 {LOCAL}"):
            error = await refused(f"http://both.test:{public.port}/", rules(), resolve=names(both=both))
            assert error.code == "media_url_forbidden"
        assert (public.connections, private.connections) == (0, 0)


@pytest.mark.skipif(not has_ipv6(), reason="needs ::1")
async def test_a_second_address_helps_where_the_first_is_deaf() -> None:
    async with Site(page(PICTURE), host="::1") as site:
        by = rules(("both.test", None))
        assert await fetched(f"http://both.test:{site.port}/", by, resolve=names(both=f"{LOCAL} ::1")) == PICTURE


# --- Redirects -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(status: int) -> None:
    async def answer(visit: Visit, writer: asyncio.StreamWriter) -> None:
        at = int(visit.path.rpartition("/")[2])
        await (redirect(f"{at - 1}", status) if at else page(PICTURE))(visit, writer)

    async with Site(answer) as site:
        by = rules((LOCAL, None))
        assert await fetched(f"http://{LOCAL}:{site.port}/a/5", by) == PICTURE
        assert [visit.path for visit in site.visits] == [f"/a/{at}" for at in (5, 4, 3, 2, 1, 0)]
        error = await refused(f"http://{LOCAL}:{site.port}/a/6", by)
        assert error.code == "media_fetch_failed" and "5 times" in error.message


async def test_a_redirect_loop_ends() -> None:
    async with Site(redirect("/")) as site:
        assert "5 times" in (await refused(f"http://{LOCAL}:{site.port}/", rules((LOCAL, None)))).message
        assert site.connections == 6


@pytest.mark.parametrize(
    ("to", "code"),
    [
        ("http://127.0.0.1:{}/", "media_url_forbidden"),
        ("//127.0.0.1:{}/", "media_url_forbidden"),
        ("http://localhost:{}/", "media_url_forbidden"),
        ("http://[::1]:{}/", "media_url_forbidden"),
        ("http://2130706433:{}/", "media_url_forbidden"),
        ("http://169.254.169.254/latest/meta-data/", "media_url_forbidden"),
        ("http://user:password@start.test:{}/", "media_url_forbidden"),
        ("file:///etc/passwd", "media_url_forbidden"),
        ("ftp://127.0.0.1/", "media_url_forbidden"),
        ("data:image/png;base64,AAAA", "media_url_forbidden"),
        ("http://unknown.test/", "media_fetch_failed"),
        ("http://[/", "invalid_media"),
        ("http://start.test:0/", "invalid_media"),
    ],
)
async def test_redirects_are_checked_anew(to: str, code: str) -> None:
    async with Site(page(b"secret")) as secret, Site(redirect(to.format(secret.port))) as site:

        def resolve(host: str, port: int) -> Sequence[str]:
            return names(start=LOCAL)(host, port) if host.endswith(".test") else fetching._resolved(host, port)

        error = await refused(f"http://start.test:{site.port}/", rules(("start.test", None)), resolve=resolve)
        assert error.code == code
        assert secret.connections == 0 and site.connections == 1


async def test_a_redirect_from_https_to_http(tmp_path: Path) -> None:
    server, client = certificate(tmp_path, "start.test")
    resolve = names(start=LOCAL, end=LOCAL)
    async with Site(page(PICTURE)) as plain, Site(redirect(f"http://end.test:{plain.port}/"), tls=server) as site:
        url = f"https://start.test:{site.port}/"
        # Both are public, as far as this test goes.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fetching, "is_public", lambda address: True)
            error = await refused(url, rules(), resolve=resolve, certificates=client)
            assert error.code == "media_url_forbidden" and "https to http" in error.message
            assert plain.connections == 0
        by = rules(("start.test", None), ("end.test", None))
        assert await fetched(url, by, resolve=resolve, certificates=client) == PICTURE


# --- TLS -----------------------------------------------------------------------------------------------------------


async def test_the_name_is_proved_though_the_address_is_connected_to(tmp_path: Path) -> None:
    server, client = certificate(tmp_path, "pictures.test", LOCAL)
    async with Site(page(PICTURE), tls=server) as site:
        by = rules(("pictures.test", None), ("other.test", None), (LOCAL, None))
        resolve = names(pictures=LOCAL, other=LOCAL, **{LOCAL: LOCAL})
        assert await fetched(f"https://pictures.test:{site.port}/", by, resolve=resolve, certificates=client) == PICTURE
        assert site.visits[0].headers["host"] == f"pictures.test:{site.port}"
        assert await fetched(f"https://{LOCAL}:{site.port}/", by, resolve=resolve, certificates=client) == PICTURE
        for url, believed in (
            (f"https://other.test:{site.port}/", client),
            (f"https://pictures.test:{site.port}/", None),
        ):
            error = await refused(url, by, resolve=resolve, certificates=believed)
            assert error.code == "media_fetch_failed" and "TLS" in error.message
        assert len(site.visits) == 2
        assert (await refused(f"http://pictures.test:{site.port}/", by, resolve=resolve)).code == "media_fetch_failed"
    async with Site(page(PICTURE)) as plain:
        error = await refused(f"https://pictures.test:{plain.port}/", by, resolve=resolve, certificates=client)
        assert error.code == "media_fetch_failed"


# --- Servers that mean no good -------------------------------------------------------------------------------------


async def drip(visit: Visit, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_headers(visit: Visit, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x-a: b\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def silence(visit: Visit, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def redirect_drip(visit: Visit, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.2)
    await redirect("/")(visit, writer)


@pytest.mark.parametrize("answer", [drip, drip_headers, silence, redirect_drip])
async def test_slow_servers_are_given_up(answer: Answer) -> None:
    async with Site(answer) as site:
        error = await refused(f"http://{LOCAL}:{site.port}/", rules((LOCAL, None), seconds=0.5))
        assert error.code == "media_fetch_failed" and "0.5 s (ATELIER_MEDIA_TIMEOUT)" in error.message


async def flood(visit: Visit, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(bytes(65_536))
        await writer.drain()


async def flood_of_headers(visit: Visit, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x-a: " + b"b" * 1000 + b"\r\n")
        await writer.drain()


async def flood_of_chunks(visit: Visit, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"4000\r\n" + bytes(0x4000) + b"\r\n")
        await writer.drain()


@pytest.mark.parametrize(
    ("answer", "code"),
    [(flood, "media_too_large"), (flood_of_chunks, "media_too_large"), (flood_of_headers, "media_fetch_failed")],
)
async def test_endless_answers_end(answer: Answer, code: str) -> None:
    async with Site(answer) as site:
        assert (await refused(f"http://{LOCAL}:{site.port}/", rules((LOCAL, None)))).code == code


async def test_the_size_is_known_before_the_body_comes() -> None:
    async def answer(visit: Visit, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100001\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(30)

    async with Site(answer) as site:
        error = await refused(f"http://{LOCAL}:{site.port}/", rules((LOCAL, None)))
        assert error.code == "media_too_large" and "ATELIER_MAX_IMAGE_MB" in error.message
    for size, fits in ((100_000, True), (100_001, False)):
        async with Site(page(bytes(size))) as site:
            url = f"http://{LOCAL}:{site.port}/"
            if fits:
                assert len(await fetched(url, rules((LOCAL, None)))) == size
            else:
                assert (await refused(url, rules((LOCAL, None)))).code == "media_too_large"


@pytest.mark.parametrize("name", ["gzip", "x-gzip", "GZIP"])
async def test_what_was_compressed_unasked(name: str) -> None:
    async with Site(page(gzip.compress(PICTURE), f"content-encoding: {name}")) as site:
        assert await fetched(f"http://{LOCAL}:{site.port}/", rules((LOCAL, None))) == PICTURE


@pytest.mark.parametrize(
    ("body", "encoding", "code"),
    [
        (gzip.compress(bytes(50_000_000)), "gzip", "media_too_large"),
        (gzip.compress(b"a") + bytes(200_000), "gzip", "media_too_large"),
        (gzip.compress(gzip.compress(bytes(50_000_000))), "gzip, gzip", "media_fetch_failed"),
        (zlib.compress(PICTURE), "deflate", "media_fetch_failed"),
        (PICTURE, "br", "media_fetch_failed"),
        (PICTURE, "gzip", "media_fetch_failed"),
        (gzip.compress(PICTURE)[:-9], "gzip", "media_fetch_failed"),
        (b"", "gzip", "media_fetch_failed"),
        (PICTURE, "<script>", "media_fetch_failed"),
    ],
)
async def test_compression_does_not_blow_up(body: bytes, encoding: str, code: str) -> None:
    async with Site(page(body, f"content-encoding: {encoding}")) as site:
        assert (await refused(f"http://{LOCAL}:{site.port}/", rules((LOCAL, None)))).code == code


async def lie(visit: Visit, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nabc")


async def hang_up(visit: Visit, writer: asyncio.StreamWriter) -> None:
    pass


async def babble(visit: Visit, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


@pytest.mark.parametrize("answer", [lie, hang_up, babble])
async def test_answers_that_are_none(answer: Answer) -> None:
    async with Site(answer) as site:
        error = await refused(f"http://{LOCAL}:{site.port}/", rules((LOCAL, None)))
        assert error.code == "media_fetch_failed" and "SSH" not in error.message


@pytest.mark.parametrize(
    "status", ["204 No Content", "206 Partial", "304 Not Modified", "401 No", "404 Not Found", "500 Oh"]
)
async def test_other_statuses(status: str) -> None:
    async with Site(page(b"", status=status)) as site:
        error = await refused(f"http://{LOCAL}:{site.port}/", rules((LOCAL, None)))
        assert error.code == "media_fetch_failed" and status[:3] in error.message


async def test_nobody_listens() -> None:
    async with Site(hang_up) as site:
        port = site.port
    assert "reached" in (await refused(f"http://{LOCAL}:{port}/", rules((LOCAL, None)))).message


# --- Many ----------------------------------------------------------------------------------------------------------


def remote(url: str, number: int) -> Remote:
    return Remote(Kind.IMAGE, f"images[{number}]", url)


async def many(site: Site, by: Rules, count: int, path: Callable[[int], str] = str) -> list[bytes]:
    reader = MediaReader(by, Fetcher(by))
    try:
        sources = [remote(f"http://{LOCAL}:{site.port}/{path(number)}", number) for number in range(count)]
        return [media.data for media in await reader.read(sources)]
    finally:
        await reader.close()


async def test_two_hundred_pictures_come_in_order_and_a_few_at_a_time() -> None:
    now, most = 0, 0

    async def answer(visit: Visit, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.002)
        now -= 1
        await page(visit.path.encode())(visit, writer)

    async with Site(answer) as site:
        assert await many(site, rules((LOCAL, None)), 200) == [f"/{number}".encode() for number in range(200)]
        assert 1 < most <= AT_ONCE_PER_REQUEST
        with pytest.raises(ApiError) as caught:
            await many(site, rules((LOCAL, None), most=64), 200)
        assert (caught.value.param, caught.value.code) == ("images[64]", "too_many_media")
        assert len(site.visits) == 200, "of too many, none is fetched"


async def test_one_that_fails_gives_the_others_up() -> None:
    async def answer(visit: Visit, writer: asyncio.StreamWriter) -> None:
        await (page(b"", status="404 Not Found") if visit.path == "/3" else silence)(visit, writer)

    async with Site(answer) as site:
        with pytest.raises(ApiError) as caught:
            await many(site, rules((LOCAL, None)), 8)
        assert caught.value.param == "images[3]"


async def test_all_together_are_bounded() -> None:
    async with Site(page(bytes(40_000))) as site:
        assert len(await many(site, rules((LOCAL, None)), 2)) == 2
        with pytest.raises(ApiError) as caught:
            await many(site, rules((LOCAL, None)), 3)
        assert caught.value.code == "media_too_large" and "together" in caught.value.message


async def test_nothing_at_all_is_no_picture() -> None:
    async with Site(page(b"")) as site:
        with pytest.raises(ApiError) as caught:
            await many(site, rules((LOCAL, None)), 1)
        assert (caught.value.code, caught.value.param) == ("invalid_media", "images[0]")
