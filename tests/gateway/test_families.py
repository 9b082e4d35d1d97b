"""Every family of models that see, over HTTP: the answer is the text that mlx-vlm's own generate gives."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from PIL import Image

from tests.support.families import FAMILIES
from tests.support.pictures import data_url, of_family, own_tokens, picture, shown
from tests.support.server import Server

RED, BLUE = picture("red", "circle", width=130), picture("blue", "square")
TOKENS = 16


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """All of them, each in a small engine of its own."""
    folder = tmp_path_factory.mktemp("families")
    models = [str(make(folder / name)) for name, make in FAMILIES.items() if name != "paligemma"]
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


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "paligemma"])
def test_the_text_of_mlx_vlm(sdk: openai.OpenAI, family: str) -> None:
    """One and two pictures and none, asked at once."""
    model = of_family(family)
    asked = [(RED,), (BLUE,), (RED, BLUE), ()]
    with ThreadPoolExecutor(len(asked)) as pool:
        answers = list(pool.map(lambda shots: said(sdk, family, "What is it?", *shots), asked))
    for shots, answer in zip(asked, answers, strict=True):
        own = own_tokens(model, shown("What is it?", len(shots)), *shots, count=TOKENS)
        assert answer == model.tokenizer.decode(own, skip_special_tokens=True)
