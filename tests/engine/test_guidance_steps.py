"""Whatever happens to a row, its grammar is where its last token left it: what it says is what it says undisturbed."""

import pytest

from tests.support.engine_made import Engine
from tests.support.guided import answer, ask, check, hot, schema_format, submit
from tests.support.models_made import trained, words
from tests.support.schemas import SCHEMAS

NAMES = ["nested", "formats", "numbers", "arrays"]


@pytest.fixture(scope="module")
def model():
    return trained()


def request(at: int) -> dict[str, object]:
    return {"format": schema_format(SCHEMAS[NAMES[at % len(NAMES)]]), "sampling": hot(at)}


@pytest.fixture(scope="module")
def undisturbed(model):
    """What eight such requests are answered, each by itself."""
    told = []
    for at in range(8):
        with Engine(model) as engine:
            told += ask(engine, [request(at)])
    return [answer.tokens for answer in told]


def unharmed(engine, sequences, undisturbed) -> None:
    for at, sequence in enumerate(sequences):
        told = answer(engine, sequence)
        assert told.reason == "stop" and told.tokens == undisturbed[at]
        check(SCHEMAS[NAMES[at % len(NAMES)]], told.text)


def test_alone_or_beside_others(model, undisturbed):
    with Engine(model) as engine:
        free = [engine.submit(words(at, 20 * at, model), say=words(at, 50, model)) for at in range(1, 4)]
        sequences = [submit(engine, f"g{at}", **request(at))[0] for at in range(8)]
        engine.finish()
        assert all(engine.said(id) == engine.tap.script[id] for id in free)
        unharmed(engine, sequences, undisturbed)


def test_a_row_that_is_preempted_goes_on_where_it_was(model, undisturbed):
    """Others take the rows of a user who has two, again and again."""
    with Engine(model, max_num_seqs=2) as engine:
        sequences = [submit(engine, f"g{at}", **request(at), user="one")[0] for at in range(2)]
        engine.until(lambda: len(engine.said("g0")) >= 8)
        for at in range(2, 6):
            sequences += submit(engine, f"g{at}", **request(at), user=f"user {at}")
            for _ in range(10):
                engine.tick()
        engine.finish()
        assert engine.core.books.preemptions
        unharmed(engine, sequences, undisturbed)


def test_a_cancelled_neighbour(model, undisturbed):
    with Engine(model) as engine:
        sequences = [submit(engine, f"g{at}", **request(at))[0] for at in range(4)]
        [gone] = submit(engine, "gone", **request(5))
        engine.until(lambda: len(engine.said("gone")) >= 5)
        engine.cancel("gone")
        engine.finish()
        assert engine.output.ends["gone"] == ["cancelled"]
        assert engine.said("gone") == undisturbed[5][: len(engine.said("gone"))] != undisturbed[5]
        unharmed(engine, sequences, undisturbed)
        assert gone.guide is not None and not gone.guide.failed


@pytest.mark.parametrize("where", ["model", "draw"])
def test_a_step_that_failed_is_tried_again_with_the_same_grammar(model, undisturbed, where):
    """No token is consumed twice, and none is lost."""
    with Engine(model) as engine:
        sequences = [submit(engine, f"g{at}", **request(at))[0] for at in range(5)]
        failures: list[int] = []

        def fails() -> bool:
            said = len(engine.said("g2"))
            if said >= 5 * (len(failures) + 1) and len(failures) < 4:
                failures.append(said)
                return True
            return False

        if where == "model":
            engine.tap.fails = lambda sequence: sequence.id == "g2" and not engine.tap.trial and fails()
        else:
            draw = engine.batch.draw

            def broken(launch) -> None:
                draw(launch)
                if fails():
                    raise RuntimeError("this draw was chosen to fail")

            engine.batch.draw = broken
        engine.finish()
        assert len(failures) == 4
        unharmed(engine, sequences, undisturbed)


def test_a_culprit_is_found_among_rows_with_grammars(model, undisturbed):
    with Engine(model) as engine:
        sequences = [submit(engine, f"g{at}", **request(at))[0] for at in range(4)]
        submit(engine, "bad", **request(6))
        engine.tap.fails = lambda sequence: sequence.id == "bad" and sequence.launched >= 6
        engine.finish()
        assert engine.output.ends["bad"] == ["engine_error"]
        unharmed(engine, sequences, undisturbed)
