"""Pictures in conversations, from OpenAI's SDK through a whole Atelier to the built-in vision model."""

import functools
import http.server
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from inference.builtin.vision.scenes import COLOURS
from tests.support.pictures import data_url, picture, png
from tests.support.server import Server

RED, BLUE = picture("red", "circle"), picture("blue", "square")
COLOUR, SHAPE = "What colour is it?", "What shape is it?"
SEES, READS = "atelier-tiny-vl", "atelier-tiny"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def pictures_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a red circle lies on the web: a server on this machine."""
    folder = tmp_path_factory.mktemp("web")
    (folder / "red.png").write_bytes(png(RED))
    (folder / "page.png").write_text("<html><img src=red.png></html>")
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory, pictures_host: str) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("seeing") / "data"
    with Server(data, SEES, READS, ATELIER_ALLOW_MEDIA_HOSTS=pictures_host) as running:
        yield running


@pytest.fixture(scope="module")
def sdk(seeing: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{seeing.base_url}/v1", api_key=seeing.key, max_retries=0, timeout=60)


def shown(question: str, *urls: str) -> Any:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": question}]}]


def ask(sdk: openai.OpenAI, question: str, *urls: str, **fields: Any) -> Any:
    return sdk.chat.completions.create(
        **{"model": SEES, "messages": shown(question, *urls), "temperature": 0, **fields}
    )


def said(answer: Any) -> str:
    text: str = answer.choices[0].message.content
    return text.strip()


def test_it_sees(sdk: openai.OpenAI) -> None:
    assert said(ask(sdk, COLOUR, data_url(RED))) == "red"
    assert said(ask(sdk, SHAPE, data_url(RED))) == "circle"
    assert said(ask(sdk, SHAPE, data_url(BLUE))) == "square"


def test_a_string_in_place_of_the_object(sdk: openai.OpenAI) -> None:
    messages: Any = shown(COLOUR, "")
    messages[0]["content"][0]["image_url"] = data_url(BLUE)
    assert said(sdk.chat.completions.create(model=SEES, messages=messages, temperature=0)) == "blue"


def test_a_stream_and_several_answers(sdk: openai.OpenAI) -> None:
    chunks = ask(sdk, COLOUR, data_url(BLUE), stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks).strip() == "blue"
    twice = ask(sdk, COLOUR, data_url(RED), n=2)
    assert [choice.message.content.strip() for choice in twice.choices] == ["red", "red"]


def test_turns_that_look_back(sdk: openai.OpenAI) -> None:
    first = shown(COLOUR, data_url(RED))
    before = ask(sdk, "", messages=first).usage
    messages = [*first, {"role": "assistant", "content": "red"}, {"role": "user", "content": SHAPE}]
    answer = sdk.chat.completions.create(model=SEES, messages=messages, temperature=0)
    assert said(answer) == "circle"
    cached = answer.usage.prompt_tokens_details.cached_tokens
    assert cached >= before.prompt_tokens - 1, "the picture is in the cache"


def test_pictures_are_counted_as_the_model_reads_them(sdk: openai.OpenAI, seeing: Server) -> None:
    """Sixteen tokens for the small one and marks around it, and the ledger says so, too."""
    none = sdk.chat.completions.create(
        model=SEES, messages=[{"role": "user", "content": COLOUR}], temperature=0, max_tokens=4
    )
    one = ask(sdk, COLOUR, data_url(RED))
    two = ask(sdk, COLOUR, data_url(RED), data_url(BLUE))
    each = two.usage.prompt_tokens - one.usage.prompt_tokens
    assert one.usage.prompt_tokens - none.usage.prompt_tokens == each >= 16
    assert seeing.ledger()[-1]["prompt_tokens"] == two.usage.prompt_tokens


def test_eight_at_once_each_get_their_own_answer_twenty_times(sdk: openai.OpenAI) -> None:
    def of(colour: str, round: int) -> str:
        return said(ask(sdk, COLOUR, data_url(picture(colour, "circle", x=0.45 + round / 200))))

    with ThreadPoolExecutor(len(COLOURS)) as pool:
        for round in range(20):
            assert list(pool.map(lambda colour: of(colour, round), COLOURS)) == list(COLOURS)  # noqa: B023  # in this round


def test_from_a_host_that_is_listed(sdk: openai.OpenAI, pictures_host: str) -> None:
    assert said(ask(sdk, COLOUR, f"http://{pictures_host}/red.png")) == "red"


WRONG: list[tuple[str, str]] = [
    ("http://127.0.0.1:1/red.png", "media_url_forbidden"),
    ("http://{host}/none.png", "media_fetch_failed"),
    ("http://{host}/page.png", "media_unreadable"),
    ("file:///etc/passwd", "media_url_forbidden"),
    ("data:image/png;base64,", "invalid_media"),
    (data_url(b"nonsense"), "media_unsupported"),
    (data_url(png(RED)[:200]), "media_unreadable"),
]


@pytest.mark.parametrize(("url", "code"), WRONG, ids=[code + str(at) for at, (_, code) in enumerate(WRONG)])
def test_what_can_t_be_read_costs_nothing(
    sdk: openai.OpenAI, seeing: Server, pictures_host: str, url: str, code: str
) -> None:
    tokens = sum(row["prompt_tokens"] for row in seeing.ledger())
    with pytest.raises(openai.BadRequestError) as caught:
        ask(sdk, COLOUR, url.format(host=pictures_host) if url.startswith("http") else url)
    assert (caught.value.code, caught.value.param) == (code, "messages[0].content[0].image_url.url")
    assert sum(row["prompt_tokens"] for row in seeing.ledger()) == tokens


def test_a_model_that_sees_nothing_says_so_and_fetches_nothing(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="sees no pictures") as caught:
        ask(sdk, COLOUR, "http://127.0.0.1:1/never-asked.png", model=READS)
    assert caught.value.param == "messages[0].content[0].image_url.url"


@pytest.mark.parametrize("role", ["system", "assistant"])
def test_only_users_and_tools_show_pictures(sdk: openai.OpenAI, role: str) -> None:
    messages: Any = [{**shown(COLOUR, data_url(RED))[0], "role": role}, {"role": "user", "content": "Hello"}]
    with pytest.raises(openai.BadRequestError, match="only users and tools") as caught:
        sdk.chat.completions.create(model=SEES, messages=messages)
    assert caught.value.param == "messages[0].content[0]"


def test_words_that_stand_for_pictures_are_no_pictures(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="stand for a picture"):
        ask(sdk, "Is this one, <|image_pad|>?", data_url(RED))


def test_models_say_what_they_see(sdk: openai.OpenAI) -> None:
    told = {model.id: (model.model_extra or {})["modalities"] for model in sdk.models.list()}
    assert told == {SEES: ["text", "image"], READS: ["text"]}
