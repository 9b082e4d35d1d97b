"""Videos in conversations, from OpenAI's SDK through a whole Atelier to the built-in vision model."""

import functools
import http.server
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.media_made import animation, clip, png, wav
from tests.support.pictures import data_url, film, picture
from tests.support.server import Server

REDDENS = film(("blue", "circle"), ("red", "circle"))
LONG = film(*[("green", "star"), ("black", "star")] * 4, rate=4)
CHANGE, NAMED = "What changes?", "the circle turns from blue to red."
MP4 = "video/mp4"
SEES, READS = "atelier-tiny-vl", "atelier-tiny"
Part = dict[str, Any]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of media: a clip, and a text that calls itself one."""
    folder = tmp_path_factory.mktemp("media")
    (folder / "clip.mp4").write_bytes(REDDENS.data)
    (folder / "text.mp4").write_text("This is no video at all. " * 50)
    (folder / "empty.mp4").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def host(folder: Path) -> Iterator[str]:
    """Where the same files lie on the web: a server on this machine."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory, folder: Path, host: str) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("seeing") / "data"
    settings = {"ATELIER_ALLOW_MEDIA_HOSTS": host, "ATELIER_MEDIA_DIR": str(folder)}
    with Server(data, SEES, READS, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def sdk(seeing: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{seeing.base_url}/v1", api_key=seeing.key, max_retries=0, timeout=60)


def video(url: str, **wishes: Any) -> Part:
    return {"type": "video_url", "video_url": {"url": url}, **wishes}


def shown(question: str, *parts: Part) -> Any:
    return [{"role": "user", "content": [*parts, {"type": "text", "text": question}]}]


def ask(sdk: openai.OpenAI, question: str, *parts: Part, **fields: Any) -> Any:
    return sdk.chat.completions.create(
        **{"model": SEES, "messages": shown(question, *parts), "temperature": 0, **fields}
    )


def said(answer: Any) -> str:
    text: str = answer.choices[0].message.content
    return text.strip()


def prompt_tokens(sdk: openai.OpenAI, part: Part, **extra: Any) -> int:
    tokens: int = ask(sdk, CHANGE, part, max_tokens=1, extra_body=extra).usage.prompt_tokens
    return tokens


# --- how they are sent -----------------------------------------------------------------------------------------------


def parts_of_every_shape(host: str) -> list[Part]:
    inside = data_url(REDDENS.data, MP4)
    return [
        video(inside),
        {"type": "video_url", "video_url": inside},
        {"type": "video", "video": {"url": inside}},
        {"type": "video", "video": "clip.mp4"},
        video("clip.mp4"),
        video(f"http://{host}/clip.mp4"),
    ]


@pytest.mark.parametrize("at", range(6))
def test_the_change_is_named(sdk: openai.OpenAI, host: str, at: int) -> None:
    part = parts_of_every_shape(host)[at]
    assert said(ask(sdk, CHANGE, part)).endswith(NAMED)


def test_an_absolute_path_under_the_folder(sdk: openai.OpenAI, folder: Path) -> None:
    for path in (str(folder / "clip.mp4"), f"file://{folder}/clip.mp4"):
        assert said(ask(sdk, CHANGE, {"type": "video", "video": path})).endswith(NAMED)


def test_a_stream(sdk: openai.OpenAI) -> None:
    chunks = ask(sdk, CHANGE, video(data_url(REDDENS.data, MP4)), stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks).strip().endswith(NAMED)


def test_an_animation_is_a_video_too(sdk: openai.OpenAI) -> None:
    file = io.BytesIO()
    # Frames that are alike would be stored as one that lasts longer.
    first, *others = [picture(colour, "circle", x=x) for colour in ("blue", "red") for x in (0.49, 0.51)]
    first.save(file, "GIF", save_all=True, append_images=others, duration=500)
    answer = said(ask(sdk, CHANGE, video(data_url(file.getvalue(), "image/gif"))))
    assert answer.startswith("First a blue circle, then a red circle")


def test_with_pictures_and_in_several_turns(sdk: openai.OpenAI) -> None:
    inside = video(data_url(REDDENS.data, MP4))
    image = {"type": "image_url", "image_url": {"url": data_url(picture("red", "circle"))}}
    before = ask(sdk, CHANGE, inside, image)
    messages = [*shown(CHANGE, inside, image), {"role": "assistant", "content": said(before)},
                *shown("What colour is it?", image)]  # fmt: skip
    after = ask(sdk, "", messages=messages)
    assert after.usage.prompt_tokens > before.usage.prompt_tokens
    cached = after.usage.prompt_tokens_details.cached_tokens
    assert cached >= before.usage.prompt_tokens - 1, "the video is in the cache"


# --- which frames ----------------------------------------------------------------------------------------------------


def test_frames_are_counted_as_the_model_reads_them(sdk: openai.OpenAI, seeing: Server) -> None:
    """Two of them are a group of tokens behind its time; the ledger says so, too."""
    none = ask(sdk, CHANGE, max_tokens=1).usage.prompt_tokens
    two = prompt_tokens(sdk, video(data_url(LONG.data, MP4)), video_max_frames=2)
    four = prompt_tokens(sdk, video(data_url(LONG.data, MP4)), video_max_frames=4)
    assert two - none >= 16 and four > two
    assert seeing.ledger()[-1]["prompt_tokens"] == four


def test_a_part_s_own_wishes_come_before_the_request_s(sdk: openai.OpenAI) -> None:
    inside = data_url(LONG.data, MP4)
    four = prompt_tokens(sdk, video(inside), video_max_frames=4)
    assert prompt_tokens(sdk, video(inside, max_frames=4), video_max_frames=8) == four
    assert prompt_tokens(sdk, video(inside), video_fps=1) == four, "of four seconds"
    assert prompt_tokens(sdk, video(inside, fps=1), video_fps=2) == four
    assert prompt_tokens(sdk, video(inside), video_fps=None, video_max_frames=None) > four
    assert prompt_tokens(sdk, video(inside, fps=None, max_frames=None)) > four


@pytest.mark.parametrize(
    ("mark", "wish"), [("A", {"video_fps": 4}), ("B", {"video_fps": 1}), ("C", {"video_max_frames": 4})]
)
def test_the_cache_knows_a_video_by_its_frames(sdk: openai.OpenAI, mark: str, wish: dict[str, float]) -> None:
    """The same file and frames hit; another rate or another number of frames misses."""

    def cached(**extra: float) -> int:
        before = {"type": "text", "text": mark}
        answer = ask(sdk, CHANGE, before, video(data_url(LONG.data, MP4)), max_tokens=1, extra_body=extra)
        tokens: int = answer.usage.prompt_tokens_details.cached_tokens
        return tokens

    one = {"video_fps": 2, "video_max_frames": 6}
    _, hit, miss, again = (cached(**each) for each in (one, one, one | wish, one | wish))
    assert hit > 48 and again > 32, "groups of frames, of 16 tokens each or more"
    assert miss < 16


# --- what is refused -------------------------------------------------------------------------------------------------

WRONG: list[tuple[str, str]] = [
    ("http://127.0.0.1:1/clip.mp4", "media_url_forbidden"),
    ("http://{host}/none.mp4", "media_fetch_failed"),
    ("http://{host}/text.mp4", "media_unsupported"),
    ("http://{host}/empty.mp4", "invalid_media"),
    ("text.mp4", "media_unsupported"),
    ("empty.mp4", "invalid_media"),
    ("/etc/passwd", "media_url_forbidden"),
    ("ftp://example.com/clip.mp4", "media_url_forbidden"),
    ("", "invalid_media"),
    ("data:video/mp4;base64,", "invalid_media"),
    ("data:video/mp4;base64,AAA", "invalid_media"),
    ("data:text/plain;base64,AAAA", "invalid_media"),
    (data_url(clip(frames=0), MP4), "media_unreadable"),
    (data_url(REDDENS.data[:300], MP4), "media_unreadable"),
    (data_url(b"This is no video at all.", MP4), "media_unsupported"),
    (data_url(png(), MP4), "media_unreadable"),
    (data_url(wav(), MP4), "media_unsupported"),
    (data_url(animation("GIF", [(255, 0, 0), (0, 0, 255)]), "image/gif"), "media_unsupported"),  # 16×8 pixels
]


@pytest.mark.parametrize(("url", "code"), WRONG, ids=[f"{at} {code}" for at, (_, code) in enumerate(WRONG)])
def test_what_can_t_be_read_costs_nothing(sdk: openai.OpenAI, seeing: Server, host: str, url: str, code: str) -> None:
    tokens = sum(row["prompt_tokens"] for row in seeing.ledger())
    with pytest.raises(openai.BadRequestError) as caught:
        ask(sdk, CHANGE, video(url.replace("{host}", host)))
    assert (caught.value.code, caught.value.param) == (code, "messages[0].content[0].video_url.url")
    assert sum(row["prompt_tokens"] for row in seeing.ledger()) == tokens


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"video_max_frames": 0}, "video_max_frames"),
        ({"video_max_frames": 769}, "video_max_frames"),
        ({"video_max_frames": 1.5}, "video_max_frames"),
        ({"video_max_frames": True}, "video_max_frames"),
        ({"video_fps": 0}, "video_fps"),
        ({"video_fps": -1}, "video_fps"),
        ({"video_fps": 1e9}, "video_fps"),
        ({"video_fps": "fast"}, "video_fps"),
        ({"video_fps": [1]}, "video_fps"),
    ],
)
def test_wishes_that_make_no_sense(sdk: openai.OpenAI, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(sdk, CHANGE, video(data_url(REDDENS.data, MP4)), extra_body=fields)
    assert caught.value.param == param
    name = param.removeprefix("video_")
    with pytest.raises(openai.BadRequestError) as caught:
        ask(sdk, CHANGE, video(data_url(REDDENS.data, MP4), **{name: fields[param]}))
    assert caught.value.param == f"messages[0].content[0].{name}"


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "video_url"}, "messages[0].content[0].video_url"),
        ({"type": "video", "video_url": {"url": "clip.mp4"}}, "messages[0].content[0].video"),
        ({"type": "video", "video": ["a.png", "b.png"]}, "messages[0].content[0].video"),
        ({"type": "video_url", "video_url": {}}, "messages[0].content[0].video_url.url"),
        ({"type": "video_url", "video_url": 5}, "messages[0].content[0].video_url"),
    ],
)
def test_parts_that_name_no_video(sdk: openai.OpenAI, part: Part, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(sdk, CHANGE, part)
    assert caught.value.param == param


def test_a_model_that_sees_nothing_says_so_and_fetches_nothing(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="sees no videos") as caught:
        ask(sdk, CHANGE, video("http://127.0.0.1:1/never-asked.mp4"), model=READS)
    assert caught.value.param == "messages[0].content[0].video_url.url"


@pytest.mark.parametrize("role", ["system", "assistant"])
def test_only_users_and_tools_show_videos(sdk: openai.OpenAI, role: str) -> None:
    messages: Any = [{**shown(CHANGE, video("clip.mp4"))[0], "role": role}, {"role": "user", "content": "Hello"}]
    with pytest.raises(openai.BadRequestError, match="only users and tools") as caught:
        ask(sdk, "", messages=messages)
    assert caught.value.param == "messages[0].content[0]"


def test_a_tool_shows_one(sdk: openai.OpenAI) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "film", "arguments": "{}"}}
    messages: Any = [
        {"role": "user", "content": "Film it."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": [video("clip.mp4")]},
        {"role": "user", "content": CHANGE},
    ]
    with_it = ask(sdk, "", messages=messages, max_tokens=1).usage.prompt_tokens
    messages[2]["content"] = "clip.mp4"
    assert with_it > ask(sdk, "", messages=messages, max_tokens=1).usage.prompt_tokens + 16
