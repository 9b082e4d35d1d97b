"""Every family of models that see, over HTTP: the answer is the text that mlx-vlm's own generate gives."""

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from PIL import Image

from tests.support.families import BATCHED, FAMILIES
from tests.support.media_made import sound, tone
from tests.support.pictures import data_url, of_family, own_tokens, picture, shown
from tests.support.server import Server

RED, BLUE = picture("red", "circle", width=130), picture("blue", "square")
TOKENS = 16
HEARS = "gemma4"
ONE_PICTURE = ("paligemma", "molmo")
"""Families whose processors read no more."""


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """All of them, each in a small engine of its own."""
    folder = tmp_path_factory.mktemp("families")
    models = [str(make(folder / name)) for name, make in FAMILIES.items()]
    with Server(folder / "data", *models) as running:
        yield running


@pytest.fixture(scope="module")
def sdk(families: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{families.base_url}/v1", api_key=families.key, max_retries=0, timeout=60)


def said(sdk: openai.OpenAI, family: str, question: str, *shots: Image.Image) -> str:
    parts = [{"type": "image_url", "image_url": {"url": data_url(shot)}} for shot in shots]
    messages = [{"role": "user", "content": [*parts, {"type": "text", "text": question}]}]
    answer = sdk.chat.completions.create(model=family, messages=messages, temperature=0, max_tokens=TOKENS)  # type: ignore[arg-type]
    return answer.choices[0].message.content or ""


@pytest.mark.parametrize("family", FAMILIES)
def test_the_text_of_mlx_vlm(sdk: openai.OpenAI, family: str) -> None:
    """One and two pictures and none, asked at once."""
    model = of_family(family)
    asked = [(RED,), (BLUE,), (), *([] if family in ONE_PICTURE else [(RED, BLUE)])]
    with ThreadPoolExecutor(len(asked)) as pool:
        answers = list(pool.map(lambda shots: said(sdk, family, "What is it?", *shots), asked))
    for shots, answer in zip(asked, answers, strict=True):
        own = own_tokens(model, shown("What is it?", len(shots)), *shots, count=TOKENS)
        assert answer == model.tokenizer.decode(own, skip_special_tokens=True)


@pytest.mark.parametrize("family", ONE_PICTURE)
def test_a_picture_too_many_is_refused(sdk: openai.OpenAI, family: str) -> None:
    with pytest.raises(openai.BadRequestError, match="reads one picture") as caught:
        said(sdk, family, "What is it?", RED, BLUE)
    assert caught.value.param == "messages"


def test_who_runs_one_at_a_time_says_so(sdk: openai.OpenAI, families: Server) -> None:
    told = {model.id: model.model_extra or {} for model in sdk.models.list()}
    assert {name for name, extra in told.items() if extra["batching"] == "single"} == set(FAMILIES) - set(BATCHED)
    with families.client() as http:
        for family in (HEARS, "llava"):
            said = http.get(f"/v1/capabilities?model={family}").json()
            alone = family == HEARS
            assert (said["model_traits"]["batching"] == "single") == alone
            assert bool(said["model_traits"]["batching_reason"]) == alone
            assert said["features"]["prefix_caching"] is not alone
            assert said["modalities"]["image"] and said["modalities"]["audio_input"] is alone
            assert ("audio" in told[family]["modalities"]) == alone
        checks = http.get("/health/diagnostics", params={"model": HEARS}).json()
    assert "single: it hears" in str(checks)


# --- sounds ----------------------------------------------------------------------------------------------------------


def played(sdk: openai.OpenAI, part: dict[str, Any], model: str = HEARS) -> Any:
    messages: Any = [{"role": "user", "content": [part, {"type": "text", "text": "What is it?"}]}]
    return sdk.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=TOKENS)


def encoded(hertz: float) -> str:
    return base64.b64encode(sound("wav", "pcm_s16le", tone(hertz=hertz))).decode()


def test_sounds(sdk: openai.OpenAI) -> None:
    """By either name, and counted."""
    answers = [
        played(sdk, {"type": "input_audio", "input_audio": {"data": encoded(220), "format": "wav"}}),
        played(sdk, {"type": "audio_url", "audio_url": {"url": f"data:audio/wav;base64,{encoded(220)}"}}),
        played(sdk, {"type": "input_audio", "input_audio": {"data": encoded(1760), "format": "wav"}}),
    ]
    texts = [answer.choices[0].message.content for answer in answers]
    assert texts[0] == texts[1] != texts[2]
    assert answers[0].usage.prompt_tokens > 25, "a token for each 40 ms, and the question"


@pytest.mark.parametrize("format", ["wav", None])
def test_what_is_no_sound_is_refused(sdk: openai.OpenAI, format: str | None) -> None:
    nonsense = base64.b64encode(b"nonsense").decode()
    with pytest.raises(openai.BadRequestError) as caught:
        played(sdk, {"type": "input_audio", "input_audio": {"data": nonsense, "format": format}})
    assert (caught.value.param, caught.value.code) == ("messages[0].content[0].input_audio.data", "media_unsupported")


def test_a_model_that_hears_nothing_says_so(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="hears no sounds") as caught:
        played(sdk, {"type": "audio_url", "audio_url": "http://127.0.0.1:1/never-asked.wav"}, "llava")
    assert caught.value.param == "messages[0].content[0].audio_url"
