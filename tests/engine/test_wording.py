"""Conversations in the words of every family, and what is refused because the model would misread it."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_vlm
import pytest
from mlx_vlm.prompt_utils import apply_chat_template
from PIL import Image

from inference.engine.model import LoadedModel
from inference.engine.text.template import PromptError
from inference.engine.vision.processor import mend
from tests.support.families import BATCHED, FAMILIES
from tests.support.pictures import of_family, picture, seeing, shown

RED, BLUE = picture("red", "circle"), picture("blue", "square")
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who are you?"},
    {"role": "assistant", "content": "A model."},
    {"role": "user", "content": "Good."},
]
TURNS = [
    *shown("What shape is it?"),
    {"role": "assistant", "content": "circle"},
    *shown("Which one is red?", 2, before="Look. "),
]
MARKS = {"gemma3": "<start_of_image>", "pixtral": "[IMG]", "qwen2_vl": "<|image_pad|>", "qwen2_5_vl": "<|vision_end|>"}


@pytest.fixture(params=BATCHED)
def model(request: pytest.FixtureRequest) -> LoadedModel:
    return of_family(request.param)


def own(model: LoadedModel, messages: list[dict[str, Any]], pictures: int = 0) -> str:
    """What mlx-vlm makes of it."""
    assert model.eye is not None
    text = apply_chat_template(model.eye.processor, model.model.model.config, messages, num_images=pictures)
    assert isinstance(text, str)
    return text


def test_they_are_those_of_mlx_vlm(model: LoadedModel) -> None:
    """Of texts, too, which many templates look for in lists alone."""
    assert model.render(CHAT, {}) == own(model, CHAT)
    assert "Who are you?" in model.render(CHAT, {})
    assert model.render(shown("What is it?"), {}) == own(model, shown("What is it?"), 1)
    assert model.render(TURNS, {}) == own(model, TURNS, 3)


def test_the_built_in_model_reads_texts_as_before() -> None:
    model = seeing()
    assert model.render(CHAT, {}) == model.tokenizer.apply_chat_template(
        CHAT, tokenize=False, add_generation_prompt=True
    )


def test_texts_with_a_pictures_words(model: LoadedModel) -> None:
    """Beside a picture the model would see another; where there is none, they are tokens like others."""
    mark = MARKS.get(model.name, "<image>")
    with pytest.raises(PromptError, match="words that stand for a picture"):
        model.render(shown(f"What does {mark} mean?"), {})
    with pytest.raises(PromptError, match="words that stand for a picture"):
        model.render([{"role": "user", "content": f"What is {mark}?"}, *shown("And this?")], {})
    assert mark in model.render([{"role": "user", "content": f"What is {mark}?"}], {})


def test_more_pictures_than_words_for_them(model: LoadedModel) -> None:
    assert model.eye is not None
    with pytest.raises(PromptError, match="processor can't"):
        model.eye.read(model.render(shown("What is it?"), {}), [RED, BLUE])
    with pytest.raises(PromptError, match="processor can't"):
        model.eye.read(model.render(shown("What is it?", 2), {}), [RED])


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (5000, 10), (13, 7)])
def test_odd_pictures_are_read_or_refused(model: LoadedModel, size: tuple[int, int]) -> None:
    """Some processors have bounds for a picture's shape; that is nobody's failure but the request's."""
    assert model.eye is not None
    odd = Image.new("RGB", size, (10, 200, 30))
    try:
        _, seen = model.eye.read(model.render(shown("What is it?"), {}), [odd])
    except PromptError as error:
        assert max(size) / min(size) > 200 and str(error).startswith("This model's processor can't read")
        return
    (only,) = seen.pictures
    model.eye.look(only, "odd")
    assert only.features is not None
    assert mx.isfinite(only.features.rows).all().item() and len(only.features.rows) == only.last


def test_ends_of_turns_are_found_in_templates_of_lists() -> None:
    model = of_family("idefics3")
    ends = {model.tokenizer.convert_ids_to_tokens(token) for token in model.end_tokens}
    assert ends == {"<|im_end|>", "<end_of_utterance>"}


def test_the_first_token_is_the_tokenizers_where_no_template_writes_it() -> None:
    model = of_family("llava")
    assert model.eye is not None
    begin = model.tokenizer.convert_tokens_to_ids("<s>")
    assert model.encode(model.render(CHAT, {}))[0] == begin
    assert model.eye.read(model.render(shown("What is it?"), {}), [RED])[0][0] == begin


def test_a_model_without_conversations() -> None:
    model = of_family("paligemma")
    assert model.render(shown("What is it?"), {}) == "<image>What is it?"
    assert model.render([{"role": "user", "content": "What is it?"}], {}) == "What is it?"
    with pytest.raises(PromptError, match="one picture in a message"):
        model.render(shown("Compare them.", 2), {})
    with pytest.raises(PromptError, match="no conversations"):
        model.render(CHAT, {})


def test_processors_are_put_right(tmp_path: Path) -> None:
    """Options of texts reach the part for pictures of LLaVA's, which refuses them."""
    _, processor = mlx_vlm.load(str(FAMILIES["llava"](tmp_path)))
    with pytest.raises(TypeError, match="padding"):
        processor(images=[RED], text=["<image>"], padding=True)
    for _ in range(2):
        mend(processor)
    inputs = processor(images=[RED], text=["<image>"], padding=True)
    assert inputs["pixel_values"].shape == (1, 3, 56, 56)
