"""The gates for prompts with pictures: in a batch, cached and interrupted they are what mlx-vlm makes of them."""

from typing import Any

import pytest

from inference.builtin.vision.scenes import COLOURS
from tests.support.engine_made import MATRIX, Engine
from tests.support.models_made import words
from tests.support.pictures import TOLERANCE, ask, deviation, own_answer, picture, seeing, shown

KIND = "atelier-tiny-vl"
COLOUR, SHAPE = "What colour is it?", "What shape is it?"
RED = picture("red", "circle")
BLUE = picture("blue", "square")


def cached(engine: Engine, id: str) -> int:
    return engine.sequences[id].cached


def whole(engine: Engine, id: str) -> int:
    """Tokens of the prompt but the last, which is decoded for its logits."""
    return len(engine.sequences[id].prompt) - 1


def test_gates_1_many_pictures_at_once(request: pytest.FixtureRequest) -> None:
    """Eight of them, of several sizes, in a batch that churns, beside text; each gets its own answer."""
    with MATRIX.cell(request, KIND, "1 batch") as cell, Engine(seeing()) as engine:
        asked: dict[str, tuple[Any, ...]] = {}
        for number, colour in enumerate(COLOURS):
            shot = picture(colour, "circle", width=96 + 24 * (number % 3))
            for question in (COLOUR, SHAPE):
                messages = shown(question, before="Look. " * (number % 4))
                asked[ask(engine, messages, shot)] = (messages, shot)
        text = engine.submit([], messages=[{"role": "user", "content": "Who are you?"}], max_tokens=20)
        engine.finish()
        for id, (messages, shot) in asked.items():
            assert engine.output.ends[id] == ["stop"]
            assert engine.text(id).strip() == own_answer(engine.model, messages, shot)
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


def test_gates_1_several_pictures_in_a_prompt(request: pytest.FixtureRequest) -> None:
    with MATRIX.cell(request, KIND, "1 batch") as cell, Engine(seeing()) as engine:
        messages = [
            *shown("What shape is it?"),
            {"role": "assistant", "content": "circle"},
            *shown("Which one is red?", 2),
        ]
        shots = (picture("green", "star"), BLUE, RED)
        id = ask(engine, messages, *shots, say=words(3, 12, engine.model))
        engine.finish()
        cell.within(deviation(engine, id, messages, *shots), TOLERANCE)


def test_gates_1_a_long_prompt_in_chunks(request: pytest.FixtureRequest) -> None:
    """Chunks that end within pictures, beside rows that decode."""
    with MATRIX.cell(request, KIND, "1 batch") as cell, Engine(seeing(), prefill_chunk=64) as engine:
        engine.submit(words(1, 9, engine.model), say=words(2, 80, engine.model))
        messages = shown(SHAPE, 3, before="Hello there. " * 60)
        shots = (RED, BLUE, picture("white", "cross", width=200))
        id = ask(engine, messages, *shots, say=words(3, 20, engine.model))
        engine.finish()
        assert engine.mixed_steps > 3
        cell.within(deviation(engine, id, messages, *shots), TOLERANCE)


@pytest.mark.parametrize("strategy", ["off", "auto"])
def test_gates_1_alone(request: pytest.FixtureRequest, strategy: str) -> None:
    with MATRIX.cell(request, KIND, "1 batch") as cell, Engine(seeing(), cache_strategy=strategy) as engine:
        id = ask(engine, shown(COLOUR), RED)
        engine.finish()
        assert engine.text(id).strip() == "red"
        cell.within(deviation(engine, id, shown(COLOUR), RED), TOLERANCE)


# --- what the prefix cache finds -------------------------------------------------------------------------------------


def test_gates_2_the_same_picture_and_question(request: pytest.FixtureRequest) -> None:
    with MATRIX.cell(request, KIND, "2 cache") as cell, Engine(seeing()) as engine:
        looked = engine.model.eye.looked
        for turn in range(2):
            id = ask(engine, shown(COLOUR), RED, salt=f"same {request.node.name}")
            engine.finish()
            assert cached(engine, id) == (whole(engine, id) if turn else 0)
            cell.within(deviation(engine, id, shown(COLOUR), RED), TOLERANCE)
        assert engine.model.eye.looked == looked + 1


def test_gates_2_another_question_about_the_same_picture(request: pytest.FixtureRequest) -> None:
    """It hits up to the question, and the encoder is left alone."""
    with MATRIX.cell(request, KIND, "2 cache") as cell, Engine(seeing()) as engine:
        first = ask(engine, shown(COLOUR), RED, salt="a")
        engine.finish()
        looked, remembered = engine.model.eye.looked, engine.model.eye.remembered
        second = ask(engine, shown("How many shapes are there?"), RED, salt="a")
        engine.finish()
        pictures = engine.sequences[second].seen
        assert pictures is not None
        assert pictures.media[0].end <= cached(engine, second) < whole(engine, second)
        assert (engine.model.eye.looked, engine.model.eye.remembered) == (looked, remembered)
        for id, question in ((first, COLOUR), (second, "How many shapes are there?")):
            cell.within(deviation(engine, id, shown(question), RED), TOLERANCE)


def test_gates_2_another_picture_never_hits(request: pytest.FixtureRequest) -> None:
    """Of the same size, behind the same words: their tokens are all alike."""
    with MATRIX.cell(request, KIND, "2 cache") as cell, Engine(seeing()) as engine:
        for shot, answer in ((RED, "red"), (BLUE, "blue"), (picture("red", "circle", x=0.52), "red")):
            id = ask(engine, shown(COLOUR, before="Look here: "), shot)
            engine.finish()
            seen = engine.sequences[id].seen
            assert seen is not None and cached(engine, id) <= seen.media[0].start
            assert engine.text(id).strip() == answer
            cell.within(deviation(engine, id, shown(COLOUR, before="Look here: "), shot), TOLERANCE)


def test_gates_2_the_order_of_pictures_counts(request: pytest.FixtureRequest) -> None:
    with MATRIX.cell(request, KIND, "2 cache") as cell, Engine(seeing()) as engine:
        for shots in ((RED, BLUE), (BLUE, RED), (RED, RED)):
            id = ask(engine, shown("Which one is red?", 2), *shots, say=words(1, 6, engine.model))
            engine.finish()
            cell.within(deviation(engine, id, shown("Which one is red?", 2), *shots), TOLERANCE)
            seen = engine.sequences[id].seen
            assert seen is not None
            # The third begins like the first.
            assert cached(engine, id) <= (seen.media[1].start if shots == (RED, RED) else seen.media[0].start)


def test_gates_2_the_next_turn_finds_picture_and_answer(request: pytest.FixtureRequest) -> None:
    with MATRIX.cell(request, KIND, "2 cache") as cell, Engine(seeing()) as engine:
        first = ask(engine, shown(COLOUR), RED, salt="turns")
        engine.finish()
        messages = [*shown(COLOUR), {"role": "assistant", "content": engine.text(first).strip()},
                    *shown(SHAPE, 1)]  # fmt: skip
        looked = engine.model.eye.looked
        second = ask(engine, messages, RED, BLUE, salt="turns")
        engine.finish()
        assert cached(engine, second) > whole(engine, first), "the answer, too"
        assert engine.model.eye.looked == looked + 1, "the new one only"
        cell.within(deviation(engine, second, messages, RED, BLUE), TOLERANCE)


def test_gates_2_no_salt_meets_another(request: pytest.FixtureRequest) -> None:
    """Neither in the cache nor in what the encoder remembers."""
    with MATRIX.cell(request, KIND, "2 cache") as cell, Engine(seeing()) as engine:
        for salt in ("team:1", "team:2"):
            looked = engine.model.eye.looked
            id = ask(engine, shown(COLOUR), RED, salt=f"{request.node.name} {salt}")
            engine.finish()
            assert cached(engine, id) == 0 and engine.model.eye.looked == looked + 1
            cell.within(deviation(engine, id, shown(COLOUR), RED), TOLERANCE)


def test_gates_2_behind_each_other(request: pytest.FixtureRequest) -> None:
    """Those that arrive together with one picture wait for the first that prefills it."""
    with MATRIX.cell(request, KIND, "2 cache") as cell, Engine(seeing()) as engine:
        looked = engine.model.eye.looked
        questions = [COLOUR, SHAPE, "How many shapes are there?", "Describe the picture."]
        asked = {ask(engine, shown(each, before="Now. " * 20), BLUE, salt="b"): each for each in questions}
        engine.finish()
        assert engine.model.eye.looked == looked + 1
        for id, question in asked.items():
            cell.within(deviation(engine, id, shown(question, before="Now. " * 20), BLUE), TOLERANCE)
        assert sum(cached(engine, id) > 0 for id in asked) == len(questions) - 1


# --- what happens to neighbours --------------------------------------------------------------------------------------


def test_gates_4_a_preempted_row_goes_on(request: pytest.FixtureRequest) -> None:
    with MATRIX.cell(request, KIND, "4 neighbour") as cell, Engine(seeing()) as engine:
        asked = {}
        for number, shot in enumerate((RED, BLUE)):
            messages = shown(COLOUR, before="And " * number)
            asked[ask(engine, messages, shot, say=words(number, 30, engine.model))] = (messages, shot)
        engine.until(lambda: all(len(engine.said(id)) > 5 for id in asked))
        victim = next(iter(asked))
        engine.core._finish_launch()
        engine.core._preempt(engine.sequences[victim])
        engine.finish()
        assert engine.core.books.preemptions == 1
        for id, (messages, shot) in asked.items():
            cell.within(deviation(engine, id, messages, shot), TOLERANCE)


def test_gates_4_a_failing_step_fails_one(request: pytest.FixtureRequest) -> None:
    with MATRIX.cell(request, KIND, "4 neighbour") as cell, Engine(seeing()) as engine:
        asked = {}
        for number, colour in enumerate(("red", "green", "blue", "white")):
            messages = shown(SHAPE, before="Or " * number)
            shot = picture(colour, "star")
            asked[ask(engine, messages, shot, say=words(number, 12, engine.model))] = (messages, shot)
        victim = [*asked][1]
        engine.tap.fails = lambda sequence: sequence.id == victim and sequence.generated > 4
        engine.finish()
        assert engine.output.ends.pop(victim) == ["engine_error"]
        for id, (messages, shot) in asked.items():
            if id != victim:
                assert engine.output.ends[id] == ["length"]
                cell.within(deviation(engine, id, messages, shot), TOLERANCE)


def test_what_was_cached_a_moment_ago_may_be_gone(request: pytest.FixtureRequest) -> None:
    """Between the look at the pictures and the row their blocks go: they are looked at then."""
    with Engine(seeing()) as engine:
        first = ask(engine, shown(COLOUR), RED, salt="gone")
        engine.finish()
        assert engine.text(first).strip() == "red"
        second = ask(engine, shown(SHAPE), RED, salt="gone")
        found = engine.core.roster.found
        engine.core.roster.found = lambda sequence: 10_000  # type: ignore[method-assign]  # as before the eviction
        engine.tick()
        engine.core.roster.found = found  # type: ignore[method-assign]
        sequence = engine.sequences[second]
        sequence.salt = "another"
        engine.finish()
        assert engine.text(second).strip() == "circle"
