"""A light user's prompt, computed ahead of the rows' step: what is said is what is said otherwise."""

import pytest

from inference.engine.protocol import Sampling
from tests.support.engine_made import Engine
from tests.support.guided import HOT, answer, check, schema_format, submit
from tests.support.models_made import trained, words
from tests.support.schemas import SCHEMAS

HEAVY = 24
"""Rows of one user; a step of theirs is worth two short prompts."""


@pytest.fixture(scope="module")
def model():
    return trained()


def busy(engine: Engine, model, tokens: int = 60) -> list[str]:
    """A heavy user's rows decode, and how long prompts take is known."""
    ids = [engine.submit(words(at, 9, model), say=words(50 + at, tokens, model), user="heavy") for at in range(HEAVY)]
    engine.until(lambda: all(len(engine.said(id)) > 8 for id in ids))
    return ids


def light(engine: Engine, model, seed: int = 99, length: int = 9, **request) -> str:
    return engine.submit(words(seed, length, model), user="light", **request)


def test_it_says_what_it_says_alone_and_the_rows_do_not_notice(model):
    with Engine(model) as engine:
        heavy = busy(engine, model)
        id = light(engine, model, say=words(3, 20, model))
        engine.tick()
        assert len(engine.said(id)) == 1, "it waited for the rows"
        engine.finish()
        assert engine.ahead == 1
        assert engine.worst([id, *heavy]) < 1e-4
        assert engine.said(id) == engine.tap.script[id]


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=HOT, seed=4, top_p=0.9),
        Sampling(temperature=HOT, seed=4, repetition_penalty=1.3, frequency_penalty=0.5),
        Sampling(temperature=HOT, seed=4, logit_bias={300: 5.0}),
    ],
    ids=["top-p", "penalties", "bias"],
)
def test_its_draws_are_those_of_its_seed(model, sampling):
    request = dict(sampling=sampling, max_tokens=20)
    with Engine(model) as engine:
        alone = light(engine, model, **request)
        engine.finish()
        heavy = busy(engine, model)
        id = light(engine, model, **request)
        engine.finish()
        assert engine.ahead == 1 and heavy
        assert engine.said(id) == engine.said(alone)


def test_its_grammar_begins_with_its_first_token(model):
    with Engine(model) as engine:
        busy(engine, model, tokens=300)
        form = dict(format=schema_format(SCHEMAS["nested"]), user="light")
        submit(engine, "first", **form, max_tokens=2)
        engine.until(lambda: "first" not in engine.core.roster.live)
        engine.ahead = 0
        # All of the prompt but its end is in the prefix cache now.
        [sequence] = submit(engine, "second", **form, sampling=Sampling(temperature=HOT, seed=1))
        engine.finish()
        assert engine.ahead == 1
        check(SCHEMAS["nested"], answer(engine, sequence).text)


@pytest.mark.parametrize("how", ["length", "stop string", "cancelled", "failed"])
def test_it_may_end_at_once(model, how):
    with Engine(model) as engine:
        heavy = busy(engine, model)
        if how == "failed":
            engine.tap.fails = lambda sequence: sequence.request.sequences[0].user == "light"
        id = light(
            engine, model, max_tokens=1 if how == "length" else 20, stop_after=1 if how == "stop string" else None
        )
        engine.tick()
        if how == "cancelled":
            engine.cancel(id)
        engine.until(lambda: id not in engine.core.roster.live)
        assert engine.ahead == 1
        expected = {"length": "length", "stop string": "stop", "cancelled": "cancelled", "failed": "engine_error"}
        assert engine.output.ends[id] == [expected[how]]
        engine.finish()
        assert all(engine.said(other) == engine.tap.script[other] for other in heavy)
        assert engine.core.scheduler.memory.used == 0 and not engine.batch.ended()


def test_a_prompt_that_is_cached_but_for_its_last_token(model):
    with Engine(model) as engine:
        warm = light(engine, model, length=200, say=words(3, 4, model))
        engine.finish()
        busy(engine, model)
        id = light(engine, model, length=200, say=words(3, 4, model))
        engine.finish()
        assert engine.sequences[id].cached == 199
        assert engine.worst([id, warm]) < 1e-4


def test_one_takes_a_row_that_is_the_heavy_users(model):
    with Engine(model, max_num_seqs=HEAVY) as engine:
        heavy = busy(engine, model)
        id = light(engine, model, say=words(3, 20, model))
        engine.finish()
        assert engine.ahead == 1 and engine.core.books.preemptions
        assert engine.worst([id, *heavy]) < 1e-4
