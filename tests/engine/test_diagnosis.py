"""What the engine tells of how it worked on a request that asked, and when it stops refusing."""

import pytest

from inference.engine.monitors.memory import MemoryReading
from inference.engine.protocol import Divergence
from inference.engine.sequence import Course
from tests.support.engine_made import Engine
from tests.support.models_made import KINDS, loaded, words

DENSE = next(kind for kind in KINDS if kind.name == "dense float32")


@pytest.fixture
def engine():
    with Engine(loaded(DENSE)) as made:
        yield made


def diagnosis(engine, id):
    return engine.sequences[id].request.diagnosis()


def test_a_request_that_runs_alone_has_no_company(engine):
    (id,) = engine.ask(words(1, 100, engine.model), say=words(2, 9, engine.model), diagnostics=True)
    found = diagnosis(engine, id)
    assert (found.rows, found.most_rows, found.preemptions, found.divergence) == (1.0, 1, 0, None)
    assert found.context_tokens >= 100


def test_rows_are_those_of_its_own_steps(engine):
    long = engine.submit(words(1, 40, engine.model), say=words(2, 60, engine.model), diagnostics=True)
    engine.until(lambda: len(engine.said(long)) >= 20)
    short = engine.submit(words(3, 40, engine.model), say=words(4, 10, engine.model), diagnostics=True)
    engine.finish()
    assert diagnosis(engine, short).rows == 2.0
    assert diagnosis(engine, long).most_rows == 2
    # Some ten of sixty steps with another one.
    assert 1.1 < diagnosis(engine, long).rows < 1.3


def test_where_a_prompt_parts_from_what_is_cached(engine):
    base = words(1, 200, engine.model)
    other = [*base[:77], (base[77] + 1) % min(engine.model.end_tokens), *base[78:120]]
    engine.ask(base, say=words(2, 3, engine.model))
    (id,) = engine.ask(other, say=words(3, 3, engine.model), diagnostics=True)
    found = diagnosis(engine, id).divergence
    assert (found.token, found.tokens) == (77, 120)
    assert found.lost >= 200 - 77
    assert engine.sequences[id].cached == 77
    (again,) = engine.ask([*base, 5, 6], say=words(3, 3, engine.model), diagnostics=True)
    # It goes on where the other answer did otherwise, or where nothing was cached.
    assert diagnosis(engine, again).divergence in (None, Divergence(200, 202, 3))


def test_a_preemption_is_counted_and_not_taken_for_a_cached_prompt(engine):
    id = engine.submit(words(1, 60, engine.model), say=words(2, 30, engine.model), diagnostics=True)
    engine.until(lambda: len(engine.said(id)) >= 10)
    engine.core._finish_launch()
    engine.core._preempt(engine.sequences[id])
    engine.finish()
    assert diagnosis(engine, id).preemptions == 1
    assert diagnosis(engine, id).divergence is None
    assert len(engine.said(id)) == 30


def test_nobody_asked(engine):
    (id,) = engine.ask(words(1, 20, engine.model), say=words(2, 3, engine.model))
    assert engine.sequences[id].course is None
    assert diagnosis(engine, id) is None


def test_a_course_counts():
    course = Course()
    for rows in (1, 4, 1):
        course.step(rows)
    assert (course.steps, course.rows, course.most_rows) == (3, 6, 4)


def test_an_engine_at_rest_notices_that_memory_is_free_again():
    """It has refused everyone, so it has no steps in which to look."""
    used = 95
    with Engine(loaded(DENSE), memory_action="reject-new") as engine:
        engine.core.memory._read = lambda: MemoryReading(used, 100)
        engine.core.memory.interval = 0
        (refused,) = engine.ask(words(1, 20, engine.model), say=words(2, 3, engine.model))
        used = 40
        (served,) = engine.ask(words(1, 20, engine.model), say=words(2, 3, engine.model))
        assert engine.output.ends == {refused: ["server_is_overloaded"], served: ["length"]}
