"""Where media come from: data URLs, base64, addresses, paths; what each error says, and where."""

import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from gateway.errors import ApiError
from gateway.media import reader, shapes
from gateway.media.fetch import Fetcher
from gateway.media.folder import _opened
from gateway.media.reader import MediaReader
from gateway.media.rules import Kind, Rules, from_settings
from gateway.media.source import Inline, Local, Remote, Source, from_base64, from_input_audio, from_url

WHERE = "messages[0].content[1].image_url.url"
DATA = bytes(range(256)) * 3 + b"!"
TEXT = base64.b64encode(DATA).decode()


def rules(folder: Path | None = None, largest: int = 10_000, most: int = 4) -> Rules:
    return Rules(folder=folder, hosts=(), largest=dict.fromkeys(Kind, largest), most=most, seconds=5)


RULES = rules()


def refused(call: Callable[[], Any], where: str | None = WHERE) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call()
    error = caught.value
    assert (error.status, error.type) == (400, "invalid_request_error")
    if where is not None:
        assert error.param == where and f"`{where}`" in error.message
    return error


async def read(*sources: Source, by: Rules = RULES) -> list[bytes]:
    made = MediaReader(by, Fetcher(by))
    try:
        return [media.data for media in await made.read(sources)]
    finally:
        await made.close()


async def unread(*sources: Source, by: Rules = RULES) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await read(*sources, by=by)
    assert caught.value.status == 400
    return caught.value


# --- Data URLs and base64 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;base64,{TEXT}",
        f"DATA:IMAGE/PNG;BASE64,{TEXT}",
        f"data:image/png;charset=utf-8;base64,{TEXT}",
        f"data:;base64,{TEXT}",
        f"data:application/octet-stream;base64,{TEXT}",
        "data:image/png;base64," + "\r\n".join(TEXT[at : at + 76] for at in range(0, len(TEXT), 76)) + "\n",
        "data:image/png;base64," + TEXT.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
    ],
)
async def test_data_urls(url: str) -> None:
    source = from_url(url, Kind.IMAGE, WHERE, RULES)
    assert isinstance(source, Inline) and source.size == len(DATA)
    assert await read(source) == [DATA]
    assert TEXT[:20] not in repr(source)


@pytest.mark.parametrize(
    "url",
    ["data:", "data:,", "data:image/png,abc", "data:image/png;base64", "data:image/png;base64abc", "data:;base64,",
     "data:image/png;base64, \n ", "data:image/png;base64,abc", "data:image/png;base64,ä" + TEXT,
     "data:" + "x" * 300 + ";base64," + TEXT, "data:no type;base64," + TEXT, "data:image;base64," + TEXT,
     "data:text/html;base64," + TEXT, "data:application/pdf;base64," + TEXT, "data:video/mp4;base64," + TEXT],
)  # fmt: skip
def test_data_urls_that_are_none(url: str) -> None:
    assert refused(lambda: from_url(url, Kind.IMAGE, WHERE, RULES)).code == "invalid_media"


@pytest.mark.parametrize("text", ["===", "a-_b", "ab\x00c", "!!!!", "a===", "====", "ab=c", TEXT[:-4] + "A==="])
async def test_what_is_no_base64_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        await read(from_url(f"data:image/png;base64,{text}", Kind.IMAGE, WHERE, RULES))
    error = caught.value
    assert (error.param, error.code) == (WHERE, "invalid_media") and "base64" in error.message


async def test_pieces_do_not_end_early() -> None:
    """Padding is only right at the very end, also where a piece ends."""
    by = rules(largest=10 * reader.PIECE)
    text = "A" * (reader.PIECE - 4)
    assert await read(Inline(Kind.IMAGE, WHERE, text + "AAAA" * 3), by=by) == [bytes((reader.PIECE + 8) // 4 * 3)]
    # Each piece by itself would be right.
    refused(lambda: from_url(f"data:image/png;base64,{text}AAA=AAAA", Kind.IMAGE, WHERE, by))


def test_sizes_are_checked_before_anything_is_decoded() -> None:
    for size, fits in ((10_000, True), (10_001, False), (10_002, False), (1_000_000, False)):
        text = base64.b64encode(bytes(size)).decode()
        if fits:
            assert from_url(f"data:image/png;base64,{text}", Kind.IMAGE, WHERE, RULES)
        else:
            error = refused(lambda text=text: from_url(f"data:image/png;base64,{text}", Kind.IMAGE, WHERE, RULES))
            assert error.code == "media_too_large" and "ATELIER_MAX_IMAGE_MB" in error.message


def test_what_is_said_to_be_another_kind() -> None:
    where = "messages[0].content[0].source"
    assert from_base64(TEXT, "image/jpeg", Kind.IMAGE, where, RULES).where == f"{where}.data"
    for odd in ("text/html", "audio/wav", "", "image/", "image/png\r\nx-evil: 1", "<b>", "image/png\0"):
        refused(lambda odd=odd: from_base64(TEXT, odd, Kind.IMAGE, where, RULES), f"{where}.media_type")
    assert from_url(f"data:image/gif;base64,{TEXT}", Kind.VIDEO, WHERE, RULES)
    assert from_url(f"data:video/webm;base64,{TEXT}", Kind.AUDIO, WHERE, RULES)
    refused(lambda: from_url(f"data:image/png;base64,{TEXT}", Kind.AUDIO, WHERE, RULES))


async def test_input_audio() -> None:
    where = "messages[0].content[0].input_audio"
    for format in ("wav", "mp3", "WAV", None):
        source = from_input_audio(TEXT, format, where, RULES)
        assert isinstance(source, Inline) and (source.kind, source.where) == (Kind.AUDIO, f"{where}.data")
    assert from_input_audio(f"data:audio/wav;base64,{TEXT}", "wav", where, RULES)
    for odd in ("", "exe", "wav\0", "x" * 10_000):
        assert len(refused(lambda odd=odd: from_input_audio(TEXT, odd, where, RULES), f"{where}.format").message) < 500
    assert (await unread(from_input_audio("http://example.com/a.wav", "wav", where, RULES))).param == f"{where}.data"
    refused(lambda: from_input_audio("", "wav", where, RULES), f"{where}.data")


# --- Addresses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://example.com/a.png", "https://example.com:8443/?a=b#c", "HTTPS://example.com"])
def test_addresses(url: str) -> None:
    assert from_url(url, Kind.IMAGE, WHERE, RULES) == Remote(Kind.IMAGE, WHERE, url)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "invalid_media"),
        ("http://example.com/" + "a" * 9000, "invalid_media"),
        ("http://example.com/\0", "invalid_media"),
        ("ftp://example.com/a.png", "media_url_forbidden"),
        ("gopher://127.0.0.1/", "media_url_forbidden"),
        ("javascript:alert(1)", "media_url_forbidden"),
        ("blob:https://example.com/1", "media_url_forbidden"),
        ("file:///etc/passwd", "media_url_forbidden"),
        ("file:/etc/passwd", "media_url_forbidden"),
        ("FILE:///etc/passwd", "media_url_forbidden"),
        ("file://other/etc/passwd", "media_url_forbidden"),
        ("/etc/passwd", "media_url_forbidden"),
        ("~/.ssh/id_rsa", "media_url_forbidden"),
        ("../../etc/passwd", "media_url_forbidden"),
        ("picture.png", "media_url_forbidden"),
        ("//example.com/a.png", "media_url_forbidden"),
        (" http://example.com/", "media_url_forbidden"),
        ("<script>", "media_url_forbidden"),
        ("x" * 9000 + "://", "invalid_media"),
        ("aaaaaaaa" * 500 + "://", "media_url_forbidden"),
    ],
)
def test_what_is_no_address_of_media(url: str, code: str) -> None:
    error = refused(lambda: from_url(url, Kind.IMAGE, WHERE, RULES))
    assert error.code == code and len(error.message) < 500
    assert "passwd" not in error.message and "id_rsa" not in error.message


# --- The folder ----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    media = tmp_path / "media"
    (media / "inner").mkdir(parents=True)
    (media / "a b.png").write_bytes(DATA)
    (media / "inner" / "b.png").write_bytes(DATA[:10])
    (media / "empty.png").write_bytes(b"")
    (media / "large.png").write_bytes(bytes(10_001))
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "media-too").mkdir()
    (tmp_path / "media-too" / "secret.png").write_bytes(b"secret")
    (media / "link.png").symlink_to(media / "a b.png")
    (media / "out.png").symlink_to(tmp_path / "secret.png")
    (media / "outside").symlink_to(tmp_path)
    (media / "loop.png").symlink_to(media / "loop.png")
    os.mkfifo(media / "pipe.png")
    return media.resolve()


@pytest.mark.parametrize(
    ("path", "length"),
    [("{}/a b.png", None), ("a b.png", None), ("./inner/../a b.png", None), ("{}/inner/b.png", 10),
     ("file://{}/inner/b.png", 10), ("file://localhost{}/a%20b.png", None), ("file:{}/inner/b.png", 10),
     ("{}/link.png", None), ("{}/outside/media/inner/b.png", 10)],
)  # fmt: skip
async def test_files_in_the_folder(folder: Path, path: str, length: int | None) -> None:
    by = rules(folder)
    source = from_url(path.format(folder), Kind.IMAGE, WHERE, by)
    assert isinstance(source, Local)
    assert await read(source, by=by) == [DATA[:length]]


@pytest.mark.parametrize(
    "path",
    ["{}/../secret.png", "../secret.png", "{}/out.png", "{}/outside/secret.png", "{}-too/secret.png", "{}/missing.png",
     "{}/loop.png", "{}/pipe.png", "{}/inner", "{}", "/etc/passwd", "file:///etc/passwd", "~/a.png", "{}/a b.png/x",
     "/dev/zero", "/proc/self/environ", "x" * 5000, "file://{}/%2e%2e/secret.png"],
)  # fmt: skip
async def test_files_elsewhere_look_like_files_that_are_not_there(folder: Path, path: str) -> None:
    by = rules(folder)
    error = await unread(from_url(path.format(folder), Kind.IMAGE, WHERE, by), by=by)
    assert (error.param, error.code) == (WHERE, "media_url_forbidden")
    assert error.message == f"`{WHERE}` names no file in the folder for media (--media-dir)."


async def test_files_that_are_too_large_or_empty(folder: Path) -> None:
    by = rules(folder)
    assert (await unread(Local(Kind.IMAGE, WHERE, "large.png"), by=by)).code == "media_too_large"
    assert (await unread(Local(Kind.IMAGE, WHERE, "empty.png"), by=by)).code == "invalid_media"
    for odd in ("file:///a%00b", "a\0b"):
        assert refused(lambda odd=odd: from_url(odd, Kind.IMAGE, WHERE, by)).code == "invalid_media"


def test_a_link_that_appears_between_the_check_and_the_opening_leads_nowhere(folder: Path) -> None:
    with pytest.raises(OSError):
        _opened(folder, Path("out.png"))
    with pytest.raises(OSError):
        _opened(folder, Path("outside/secret.png"))
    os.close(_opened(folder, Path("inner/b.png")))


# --- Several together ----------------------------------------------------------------------------------------------


def inline(number: int, size: int = 30) -> Inline:
    return Inline(Kind.IMAGE, f"images[{number}]", base64.b64encode(bytes([number]) * size).decode())


async def test_they_come_in_order_and_there_can_be_none() -> None:
    assert await read() == []
    assert await read(*map(inline, range(4))) == [bytes([number]) * 30 for number in range(4)]


async def test_too_many_and_too_much() -> None:
    error = await unread(*map(inline, range(5)))
    assert (error.param, error.code) == ("images[4]", "too_many_media") and "ATELIER_MAX_MEDIA" in error.message
    error = await unread(*(inline(number, 5000) for number in range(3)))
    assert (error.param, error.code) == ("images[2]", "media_too_large")
    by = rules(most=200, largest=1_000_000)
    assert len(await read(*map(inline, range(200)), by=by)) == 200
    assert (await unread(*(inline(number % 256) for number in range(201)), by=by)).param == "images[200]"


async def test_one_that_is_wrong_is_the_answer() -> None:
    error = await unread(inline(1), Inline(Kind.IMAGE, "images[2]", "!!!!"), inline(3))
    assert error.param == "images[2]"


# --- The dialects --------------------------------------------------------------------------------------------------

URL = f"data:image/png;base64,{TEXT}"


def test_chats_shapes() -> None:
    where = "messages[0].content[1].image_url"
    for given, place in ((shapes.ImageUrl(URL, "low"), f"{where}.url"), (URL, where)):
        assert shapes.of_image_url(given, where, RULES).where == place
    refused(lambda: shapes.of_image_url(shapes.ImageUrl(URL, "best"), where, RULES), f"{where}.detail")
    refused(lambda: shapes.of_image_url(shapes.ImageUrl("nope"), where, RULES), f"{where}.url")
    video = shapes.of_media_url(shapes.MediaUrl("https://example.com/a.mp4"), Kind.VIDEO, "a.video_url", RULES)
    assert (video.kind, video.where) == (Kind.VIDEO, "a.video_url.url")
    assert shapes.of_media_url("https://example.com/a.mp4", Kind.VIDEO, "a.video", RULES).where == "a.video"
    audio = shapes.of_input_audio(shapes.InputAudio(TEXT, "mp3"), "a.input_audio", RULES)
    assert (audio.kind, audio.where) == (Kind.AUDIO, "a.input_audio.data")


def test_the_responses_shape() -> None:
    where = "input[0].content[1]"
    assert shapes.of_input_image(URL, "auto", where, RULES).where == f"{where}.image_url"
    refused(lambda: shapes.of_input_image("", "auto", where, RULES), f"{where}.image_url")
    refused(lambda: shapes.of_input_image(URL, "best", where, RULES), f"{where}.detail")


def test_few_details_are_enough_where_that_is_said() -> None:
    for detail, coarse in (("low", True), ("high", False), ("auto", False), ("original", False), (None, False)):
        assert shapes.of_image_url(shapes.ImageUrl(URL, detail), "a", RULES).coarse == coarse
        assert shapes.of_input_image(URL, detail, "a", RULES).coarse == coarse


def test_anthropics_shape() -> None:
    where = "messages[0].content[1].source"
    of = shapes.of_image_source
    assert of(shapes.ImageSource("base64", "image/png", TEXT), where, RULES).where == f"{where}.data"
    assert of(shapes.ImageSource("url", url="https://example.com/"), where, RULES).where == f"{where}.url"
    refused(lambda: of(shapes.ImageSource("base64", data=TEXT), where, RULES), f"{where}.media_type")
    refused(lambda: of(shapes.ImageSource("base64", "image/png"), where, RULES), f"{where}.data")
    refused(lambda: of(shapes.ImageSource("url"), where, RULES), f"{where}.url")
    refused(lambda: of(shapes.ImageSource("file"), where, RULES), f"{where}.type")


def test_the_rules_are_those_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert from_settings() == Rules(
        folder=None,
        hosts=frozenset(),
        largest={Kind.IMAGE: 20 << 20, Kind.VIDEO: 200 << 20, Kind.AUDIO: 25 << 20},
        most=64,
        seconds=20,
    )
    monkeypatch.setattr(settings, "ALLOW_MEDIA_HOSTS", [("nas.local", 8080)])
    assert from_settings().lists("nas.local", 8080) and not from_settings().lists("nas.local", 80)
