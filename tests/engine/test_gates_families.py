"""The gates for every family of models that see and batch: several at once, in chunks, cached and preempted they say
what mlx-vlm's own generate says.

These models are random, so what they say depends on all that they are given, and on nothing else.
"""

from typing import Any

import pytest
from PIL import Image

from inference.engine.model import LoadedModel
from tests.support.engine_made import MATRIX, Engine
from tests.support.families import BATCHED
from tests.support.models_made import words
from tests.support.pictures import TOLERANCE, ask, deviation, of_family, own_tokens, picture, shown

COLOUR, SHAPE = "What colour is it?", "What shape is it?"
RED = picture("red", "circle", width=130)
BLUE = picture("blue", "square")
STAR = picture("green", "star", height=140)
CHUNK = 64

Asked = tuple[list[dict[str, Any]], tuple[Image.Image, ...]]

TURNS = [
    *shown(SHAPE),
    {"role": "assistant", "content": "circle"},
    *shown("Which one is red?", 2, before="Look. "),
]


@pytest.fixture(params=BATCHED)
def model(request: pytest.FixtureRequest) -> LoadedModel:
    return of_family(request.param)


def test_gates_1_several_at_once(request: pytest.FixtureRequest, model: LoadedModel) -> None:
    """Pictures of several sizes, several in a prompt and in several turns, beside a text."""
    with MATRIX.cell(request, model.name, "1 batch") as cell, Engine(model) as engine:
        assert engine.core.batching == "batched", engine.core.batching_reason
        text = [{"role": "user", "content": "Who are you?"}]
        asked: dict[str, Asked] = {ask(engine, text, max_tokens=40): (text, ())}
        for messages, shots in (
            (shown(COLOUR), (RED,)),
            (shown(COLOUR), (BLUE,)),
            (TURNS, (STAR, BLUE, RED)),
            (shown("Compare them.", 2, before="And these? "), (STAR, RED)),
        ):
            asked[ask(engine, messages, *shots)] = (messages, shots)
        engine.finish()
        assert engine.most_rows == len(asked)
        for id, (messages, shots) in asked.items():
            assert engine.said(id) == own_tokens(model, messages, *shots, count=engine.sequences[id].max_tokens)
            cell.within(deviation(engine, id, messages, *shots), TOLERANCE)


def test_the_pictures_matter(model: LoadedModel) -> None:
    """Or all else here would pass with features that nobody reads."""
    with Engine(model) as engine:
        id = ask(engine, shown(COLOUR), RED, say=words(1, 6, model))
        engine.finish()
        assert deviation(engine, id, shown(COLOUR), BLUE.resize(RED.size)) > 1000 * TOLERANCE


def test_gates_1_chunks_that_end_within_pictures(request: pytest.FixtureRequest, model: LoadedModel) -> None:
    with MATRIX.cell(request, model.name, "1 batch") as cell, Engine(model, prefill_chunk=CHUNK) as engine:
        engine.submit(words(1, 9, model), say=words(2, 60, model))
        shots = (RED, BLUE, STAR, BLUE, RED, STAR)
        messages = shown(SHAPE, len(shots), before="Hello there. " * 4)
        id = ask(engine, messages, *shots, say=words(3, 12, model))
        sequence = engine.sequences[id]
        ends = set()
        while engine.tick():
            ends.add(sequence.prefilled)
        assert sequence.seen is not None
        assert any(each.start < end < each.end for each in sequence.seen.media for end in ends)
        assert bool(engine.mixed_steps) == engine.batch.mixes
        cell.within(deviation(engine, id, messages, *shots), TOLERANCE)


def test_gates_2_what_is_cached(request: pytest.FixtureRequest, model: LoadedModel) -> None:
    """Another question about a picture, the next turn, and another picture behind the same words."""
    with MATRIX.cell(request, model.name, "2 cache") as cell, Engine(model) as engine:
        salt = request.node.name
        first = ask(engine, shown(COLOUR, before="Look. " * 20), RED, salt=salt)
        engine.finish()
        eye = engine.model.eye
        assert eye is not None
        looked = eye.looked
        second = ask(engine, shown(SHAPE, before="Look. " * 20), RED, salt=salt)
        engine.finish()
        seen = engine.sequences[second].seen
        assert seen is not None
        assert eye.looked == looked, "the encoder is left alone"
        assert engine.sequences[second].cached > 0
        if engine.store.layout.plain and not engine.store.layout.rings:
            assert engine.sequences[second].cached >= seen.media[0].end
        said = str(model.tokenizer.decode(engine.said(first), skip_special_tokens=True))
        turns = [*shown(COLOUR, before="Look. " * 20), {"role": "assistant", "content": said}, *shown(SHAPE)]
        third = ask(engine, turns, RED, BLUE, salt=salt)
        engine.finish()
        assert eye.looked == looked + 1 and engine.sequences[third].cached > seen.media[0].end
        fourth = ask(engine, shown(COLOUR, before="Look. " * 20), BLUE.resize(RED.size), salt=salt)
        engine.finish()
        assert engine.sequences[fourth].cached <= seen.media[0].start
        for id, messages, *shots in (
            (first, shown(COLOUR, before="Look. " * 20), RED),
            (second, shown(SHAPE, before="Look. " * 20), RED),
            (third, turns, RED, BLUE),
            (fourth, shown(COLOUR, before="Look. " * 20), BLUE.resize(RED.size)),
        ):
            cell.within(deviation(engine, id, messages, *shots), TOLERANCE)


def test_gates_4_a_preempted_row_goes_on(request: pytest.FixtureRequest, model: LoadedModel) -> None:
    with MATRIX.cell(request, model.name, "4 neighbour") as cell, Engine(model) as engine:
        asked: dict[str, Asked] = {}
        for number, shots in enumerate(((RED,), (BLUE, STAR))):
            messages = shown(COLOUR, len(shots), before="And " * number)
            asked[ask(engine, messages, *shots, say=words(number, 24, model))] = (messages, shots)
        engine.until(lambda: all(len(engine.said(id)) > 5 for id in asked))
        engine.core._finish_launch()
        engine.core._preempt(engine.sequences[next(iter(asked))])
        engine.finish()
        assert engine.core.books.preemptions == 1
        for id, (messages, shots) in asked.items():
            cell.within(deviation(engine, id, messages, *shots), TOLERANCE)


def test_gates_1_alone_and_without_a_cache(request: pytest.FixtureRequest, model: LoadedModel) -> None:
    with MATRIX.cell(request, model.name, "1 batch") as cell, Engine(model, cache_strategy="off") as engine:
        id = ask(engine, TURNS, STAR, BLUE, RED)
        engine.finish()
        assert engine.said(id) == own_tokens(model, TURNS, STAR, BLUE, RED)
        cell.within(deviation(engine, id, TURNS, STAR, BLUE, RED), TOLERANCE)


def test_others_go_on_between_the_layers_of_the_encoder(model: LoadedModel) -> None:
    with Engine(model) as engine:
        ask(engine, shown(COLOUR), RED, salt="breath")
        engine.core._inbox.put(None)
        engine.core._receive()
        eye, looking = model.eye, engine.core._looking
        assert eye is not None and looking is not None
        breaths = []
        looking._breathe = lambda: breaths.append(None)
        looking.step()
        assert len(breaths) >= 2
        engine.finish()
