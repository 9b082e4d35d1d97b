"""The models that ship with Atelier keep what their MODEL.md says: a sample of the held-out cases, scored as there."""

import pytest
from mlx_lm import load as load_text_model
from mlx_vlm import load as load_vision_model
from PIL import Image, ImageDraw

from inference.builtin.text import score as text_score
from inference.builtin.text.skills import held_out_cases
from inference.builtin.vision import score as vision_score
from inference.builtin.vision.cases import Case
from inference.sources import BUILTIN_FOLDER

MEGABYTE = 1_000_000
LEAST_RIGHT = {
    "greeting": 28, "faq": 29, "earlier_turn": 28, "add": 29, "repeat": 27, "fact": 29,
    "tool_call": 26, "tool_result": 27, "json": 28, "thinking": 25,
}  # fmt: skip
"""Of 30 cases: what MODEL.md reports, less what a sample of this size may miss."""


def test_each_is_small_and_explains_itself():
    folders = [folder for folder in BUILTIN_FOLDER.iterdir() if folder.is_dir()]
    assert {folder.name for folder in folders} == {"atelier-tiny", "atelier-tiny-vl"}
    for folder in folders:
        assert sum(file.stat().st_size for file in folder.iterdir()) <= 8 * MEGABYTE
        card = (folder / "MODEL.md").read_text()
        assert "demo" in card and "Apache-2.0" in card and "%" in card


@pytest.fixture(scope="module")
def text_model():
    return load_text_model(str(BUILTIN_FOLDER / "atelier-tiny"))


@pytest.mark.parametrize("skill", LEAST_RIGHT)
def test_the_text_model(text_model, skill):
    model, tokenizer = text_model
    cases = held_out_cases(skill, 30, seed=1)
    outcomes = text_score.answer(model, tokenizer, cases)
    wrong = [(outcome.case.target, outcome.text) for outcome in outcomes if not outcome.right]
    assert len(outcomes) - len(wrong) >= LEAST_RIGHT[skill], wrong


@pytest.fixture(scope="module")
def vision_model():
    return load_vision_model(str(BUILTIN_FOLDER / "atelier-tiny-vl"))


@pytest.mark.parametrize("skill", ["colour", "shape"])
def test_the_vision_model(vision_model, skill):
    model, processor = vision_model
    score = vision_score.score_skill(model, processor, skill, cases=21, seed=1)
    assert score.right >= 19 and score.ended == 21


def test_a_plain_red_circle(vision_model):
    """A picture of the user's, not of our generator."""
    picture = Image.new("RGB", (128, 128), "white")
    ImageDraw.Draw(picture).ellipse((34, 34, 94, 94), fill=(220, 20, 30))
    model, processor = vision_model
    assert "red" in ask(model, processor, picture, "What colour is the circle?")
    assert "circle" in ask(model, processor, picture, "What shape is it?")


def ask(model, processor, picture, question):
    case = Case(skill="colour", key="", turns=((question, ""),), pictures=(picture,))
    return vision_score.answer(model, processor, case)[0].lower()


def test_held_out_cases_are_the_same_every_time():
    assert held_out_cases("fact", 5, seed=3) == held_out_cases("fact", 5, seed=3)
