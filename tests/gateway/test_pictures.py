"""Pictures in conversations, from OpenAI's SDK through a whole Atelier to the built-in vision model."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from inference.builtin.vision.scenes import COLOURS
from tests.gateway.pictured import COLOUR, READS, SEES, SHAPE
from tests.support.pictures import data_url, picture
from tests.support.pictures_host import Web
from tests.support.server import Server

RED, BLUE = picture("red", "circle"), picture("blue", "square")


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


def test_from_a_host_that_is_listed(sdk: openai.OpenAI, web: Web) -> None:
    assert said(ask(sdk, COLOUR, web.listed.url("red.png"))) == "red"


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
    assert told == {SEES: ["text", "image", "video"], READS: ["text"]}
