"""The gates for prompts with clips: in a batch, cached and in chunks they are what mlx-vlm makes of them."""

from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from mlx_vlm import generate
from PIL import Image

from inference.builtin.vision.architecture import FOLDER
from inference.builtin.vision.scenes import COLOURS
from inference.engine.model import LoadedModel, load_model
from inference.engine.prepare import Refusal
from inference.engine.protocol import Media
from inference.engine.vision.clips import choice
from tests.support.engine_made import MATRIX, Engine
from tests.support.models_made import words
from tests.support.pictures import (
    TOLERANCE,
    Film,
    ask,
    deviation,
    film,
    of_family,
    own_answer,
    own_tokens,
    picture,
    read,
    seeing,
    shown,
)

KIND = "atelier-tiny-vl, clips"
CHANGE, COLOUR = "What changes?", "What colour is it?"
VIDEO: dict[str, Any] = {"type": "video"}
REDDENS = film(("blue", "circle"), ("red", "circle"))
SQUARES = film(("green", "square"), ("yellow", "square"))
LONG = film(*[("green", "star"), ("black", "star")] * 4, rate=4)
RED = picture("red", "circle")


def cached(engine: Engine, id: str) -> int:
    return engine.sequences[id].cached


def start(engine: Engine, id: str) -> int:
    """Where its first picture or clip begins."""
    seen = engine.sequences[id].seen
    assert seen is not None
    return seen.media[0].start


def test_gates_1_many_clips_at_once(request: pytest.FixtureRequest) -> None:
    """Of several sizes and lengths, in a batch that churns, beside pictures and text; each gets its own answer."""
    with MATRIX.cell(request, KIND, "1 batch") as cell, Engine(seeing()) as engine:
        asked: dict[str, tuple[Any, ...]] = {}
        for number, colour in enumerate(COLOURS):
            other = "red" if colour != "red" else "blue"
            shot = film((colour, "circle"), (other, "circle"), each=1 + number % 3, width=96 + 24 * (number % 2))
            messages = shown(CHANGE, [VIDEO], before="Look. " * (number % 4))
            asked[ask(engine, messages, shot, max_tokens=40)] = (messages, shot)
            asked[ask(engine, shown(COLOUR), RED, max_tokens=40)] = (shown(COLOUR), RED)
        text = engine.submit([], messages=[{"role": "user", "content": "Who are you?"}], max_tokens=20)
        engine.finish()
        for id, (messages, shot) in asked.items():
            assert engine.text(id).strip() == own_answer(engine.model, messages, shot, count=40)
            cell.within(deviation(engine, id, messages, shot), TOLERANCE)
        assert engine.text(text).startswith("I am atelier-tiny-vl")
    with MATRIX.cell(request, KIND, "1 batch") as cell, Engine(seeing()) as engine:
        # The same, made to talk for longer, so that they meet.
        for number, (messages, shot) in enumerate(asked.values()):
            ask(engine, messages, shot, say=words(number, 20 + 3 * number, engine.model))
        engine.finish()
        assert engine.most_rows > 8 and engine.mixed_steps
        for id, (messages, shot) in zip(engine.sequences, asked.values(), strict=True):
            cell.within(deviation(engine, id, messages, shot), TOLERANCE)


def test_gates_1_the_change_is_named(tmp_path: Path) -> None:
    """And mlx-vlm, which reads the file by itself, says the same."""
    file = tmp_path / "clip.mp4"
    file.write_bytes(REDDENS.data)
    with Engine(seeing()) as engine:
        id = ask(engine, shown(CHANGE, [VIDEO]), REDDENS, max_tokens=40)
        engine.finish()
        assert engine.text(id).strip().endswith("the circle turns from blue to red.")
        assert engine.text(id).strip() == own_answer_of_a_file(engine.model, CHANGE, file)


def own_answer_of_a_file(model: LoadedModel, question: str, file: Path) -> str:
    eye = model.eye
    assert eye is not None
    text = model.render(shown(question, [VIDEO]), {})
    made = generate(model.model.model, eye.processor, text, video=[str(file)], max_tokens=40, temperature=0.0)
    return str(made.text).strip()


def test_gates_1_pictures_and_clips_in_a_conversation(request: pytest.FixtureRequest) -> None:
    """Two clips and a picture in one turn, in an order of their own, and a clip in another."""
    with MATRIX.cell(request, KIND, "1 batch") as cell, Engine(seeing()) as engine:
        image = {"type": "image"}
        messages = [
            *shown(CHANGE, [VIDEO]),
            {"role": "assistant", "content": "First a blue circle, then a red circle."},
            *shown("Which one is red?", [VIDEO, image, {**VIDEO, "fps": 1.0}], before="And now: "),
        ]
        shots = (REDDENS, SQUARES, RED, LONG)
        id = ask(engine, messages, *shots, say=words(3, 12, engine.model))
        engine.finish()
        cell.within(deviation(engine, id, messages, *shots), TOLERANCE)


def test_gates_1_a_long_prompt_in_chunks(request: pytest.FixtureRequest) -> None:
    """Chunks that end within clips, beside rows that decode."""
    with MATRIX.cell(request, KIND, "1 batch") as cell, Engine(seeing(), prefill_chunk=64) as engine:
        engine.submit(words(1, 9, engine.model), say=words(2, 80, engine.model))
        wish = {**VIDEO, "fps": 4.0, "max_frames": 16}
        messages = shown(CHANGE, [wish, VIDEO], before="Hello there. " * 60)
        id = ask(engine, messages, LONG, REDDENS, say=words(3, 20, engine.model))
        engine.finish()
        assert engine.mixed_steps > 3
        cell.within(deviation(engine, id, messages, LONG, REDDENS), TOLERANCE)


@pytest.mark.parametrize("strategy", ["off", "auto"])
def test_gates_1_alone(request: pytest.FixtureRequest, strategy: str) -> None:
    with MATRIX.cell(request, KIND, "1 batch") as cell, Engine(seeing(), cache_strategy=strategy) as engine:
        id = ask(engine, shown(CHANGE, [VIDEO]), SQUARES, max_tokens=40)
        engine.finish()
        assert engine.text(id).strip() == own_answer(engine.model, shown(CHANGE, [VIDEO]), SQUARES, count=40)
        cell.within(deviation(engine, id, shown(CHANGE, [VIDEO]), SQUARES), TOLERANCE)


# --- what the prefix cache finds -------------------------------------------------------------------------------------


def test_gates_2_the_same_clip_hits(request: pytest.FixtureRequest) -> None:
    """Up to where the questions differ, and the encoder is left alone."""
    with MATRIX.cell(request, KIND, "2 cache") as cell, Engine(seeing()) as engine:
        eye = engine.model.eye
        assert eye is not None
        looked = eye.looked
        for turn, question in enumerate((CHANGE, CHANGE, "What is in the first frame?")):
            messages = shown(question, [VIDEO])
            id = ask(engine, messages, REDDENS, salt=request.node.name, max_tokens=40)
            engine.finish()
            sequence = engine.sequences[id]
            assert sequence.seen is not None
            if turn:
                assert sequence.seen.media[0].end <= sequence.cached < len(sequence.prompt)
            else:
                assert not sequence.cached
            cell.within(deviation(engine, id, messages, REDDENS), TOLERANCE)
        assert eye.looked == looked + 1


@pytest.mark.parametrize("wish", [{"fps": 4.0}, {"fps": 1.0}, {"max_frames": 4}, {"fps": 4.0, "max_frames": 12}])
def test_gates_2_other_frames_never_hit(request: pytest.FixtureRequest, wish: dict[str, float]) -> None:
    """The same file at another rate, or with another number of frames: even where the frames are the same after all, as
    those of 4 a second are with a model that wants eight in all."""
    with MATRIX.cell(request, KIND, "2 cache") as cell, Engine(seeing()) as engine:
        for part in (VIDEO, {**VIDEO, **wish}):
            messages = shown(CHANGE, [part])
            id = ask(engine, messages, LONG, salt=request.node.name, say=words(1, 6, engine.model))
            engine.finish()
            assert cached(engine, id) <= start(engine, id)
            cell.within(deviation(engine, id, messages, LONG), TOLERANCE)
        again = ask(engine, messages, LONG, salt=request.node.name, say=words(1, 6, engine.model))
        engine.finish()
        assert cached(engine, again) > start(engine, again)


def test_gates_2_another_clip_never_hits(request: pytest.FixtureRequest) -> None:
    """Of the same size and length, behind the same words: their tokens are all alike. Nor does a picture that was one
    of its frames, nor the clip of another team."""
    with MATRIX.cell(request, KIND, "2 cache") as cell, Engine(seeing()) as engine:
        backwards = film(("red", "circle"), ("blue", "circle"))
        looks = [(REDDENS, [VIDEO], "a"), (backwards, [VIDEO], "a"), (RED, [{"type": "image"}], "a"),
                 (REDDENS, [VIDEO], "b")]  # fmt: skip
        for shot, parts, salt in looks:
            messages = shown(CHANGE, parts, before="Look here: ")
            id = ask(engine, messages, shot, salt=f"{request.node.name} {salt}", max_tokens=40)
            engine.finish()
            assert cached(engine, id) <= start(engine, id)
            cell.within(deviation(engine, id, messages, shot), TOLERANCE)


# --- what happens to neighbours --------------------------------------------------------------------------------------


def test_gates_4_a_preempted_row_goes_on(request: pytest.FixtureRequest) -> None:
    with MATRIX.cell(request, KIND, "4 neighbour") as cell, Engine(seeing()) as engine:
        asked = {}
        for number, shot in enumerate((REDDENS, SQUARES)):
            messages = shown(CHANGE, [VIDEO], before="And " * number)
            asked[ask(engine, messages, shot, say=words(number, 30, engine.model))] = (messages, shot)
        engine.until(lambda: all(len(engine.said(id)) > 5 for id in asked))
        engine.core._finish_launch()
        engine.core._preempt(engine.sequences[next(iter(asked))])
        engine.finish()
        assert engine.core.books.preemptions == 1
        for id, (messages, shot) in asked.items():
            cell.within(deviation(engine, id, messages, shot), TOLERANCE)


# --- other families --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl"])
def test_gates_1_families_with_a_word_for_clips(request: pytest.FixtureRequest, family: str) -> None:
    """Without times in the prompt, and with a tower of their own. mlx-vlm's own generate forgets the clips of a prompt
    that has pictures too, in these."""
    model = of_family(family)
    assert model.eye is not None and model.eye.sees_clips
    with MATRIX.cell(request, f"{family}, clips", "1 batch") as cell, Engine(model, prefill_chunk=64) as engine:
        wish = {**VIDEO, "max_frames": 4}
        asked: dict[str, tuple[Any, ...]] = {}
        for messages, shots in (
            (shown(CHANGE, [wish]), (REDDENS,)),
            (shown(CHANGE, [wish, wish], before="Look. "), (SQUARES, LONG)),
            (shown(COLOUR), (RED,)),
        ):
            asked[ask(engine, messages, *shots)] = (messages, shots)
        engine.finish()
        assert engine.core.batching == "batched" and engine.most_rows > 1
        for id, (messages, shots) in asked.items():
            assert engine.said(id) == own_tokens(model, messages, *shots)
            cell.within(deviation(engine, id, messages, *shots), TOLERANCE)


@pytest.mark.parametrize("family", ["llava", "idefics3", "smolvlm", "gemma3", "pixtral"])
def test_gates_1_families_that_are_shown_pictures(request: pytest.FixtureRequest, family: str) -> None:
    model = of_family(family)
    assert model.eye is not None and not model.eye.sees_clips
    with MATRIX.cell(request, f"{family}, clips", "1 batch") as cell, Engine(model) as engine:
        id = ask(engine, shown(CHANGE, [{**VIDEO, "max_frames": 3}]), REDDENS)
        engine.finish()
        frames = [*map(Image.fromarray, read(model, REDDENS, max_frames=3).frames)]
        assert engine.said(id) == own_tokens(model, shown(CHANGE, 3), *frames)
        cell.within(deviation(engine, id, shown(CHANGE, 3), *frames), TOLERANCE)


# --- models without a word for clips ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wordless(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """The built-in model, with a chat template that has no place for clips."""
    folder = copytree(FOLDER, tmp_path_factory.mktemp("wordless") / "model")
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|video_pad|>", ""))
    return load_model(str(folder), "wordless", kind="vision")


def test_frames_are_pictures_to_a_model_without_a_word_for_clips(
    request: pytest.FixtureRequest, wordless: LoadedModel
) -> None:
    """In their order, as many as are asked for, and in the clip's place among the other pictures."""
    with MATRIX.cell(request, "frames as pictures", "1 batch") as cell, Engine(wordless) as engine:
        assert wordless.eye is not None and not wordless.eye.sees_clips
        messages = shown("Which one is red?", [{"type": "image"}, {**VIDEO, "max_frames": 3}])
        frames = Film(tuple(picture(colour, "star") for colour in ("green", "black", "red")))
        id = ask(engine, messages, RED, frames, say=words(3, 12, engine.model))
        engine.finish()
        seen = engine.sequences[id].seen
        assert seen is not None and len(seen.pictures) == 4
        told = shown("Which one is red?", 4)
        cell.within(
            deviation(engine, id, told, RED, *map(Image.fromarray, read(wordless, frames, max_frames=3).frames)),
            TOLERANCE,
        )


def test_a_long_clip_is_few_pictures(wordless: LoadedModel) -> None:
    """As many as the model's processor wants, or sixteen."""
    shot = film(*[("green", "star"), ("black", "star")] * 20, rate=2)
    with Engine(wordless) as engine:
        id = ask(engine, shown(CHANGE, [VIDEO]), shot, max_tokens=2)
        seen = engine.sequences[id].seen
        assert seen is not None and len(seen.pictures) == 8
        engine.finish()
    wishless = choice(object(), native=False, fps=None, max_frames=None)
    assert (wishless.max_frames, wishless.min_frames, wishless.multiple) == (16, 1, 1)


def test_the_model_s_own_wishes_hold_where_there_are_no_others() -> None:
    """Two frames a second, at most eight; whoever asks for more gets them."""
    eye = seeing().eye
    assert eye is not None and eye.sees_clips
    assert (eye.choice(None, None).fps, eye.choice(None, None).max_frames) == (2.0, 8)
    assert (eye.choice(0.5, 20).fps, eye.choice(0.5, 20).max_frames) == (0.5, 20)
    one = eye.choice(None, 1)
    assert (one.max_frames, one.min_frames, one.multiple) == (1, 1, 1)


def test_words_that_stand_for_clips_are_no_clips() -> None:
    with Engine(seeing()) as engine, pytest.raises(Refusal, match="stand for a picture"):
        messages = shown("Is this one, <|video_pad|>?", [VIDEO])
        engine.submit([], messages=messages, media=[Media(REDDENS.data)], max_tokens=2)
