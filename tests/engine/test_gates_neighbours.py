"""Gate 4: a neighbour is cancelled, preempted, moved or fails, and nobody else's logits change."""

import pytest

from inference.engine.launch import Launch
from inference.engine.scheduling.memory import Memory
from tests.support.engine_made import MATRIX, Engine
from tests.support.models_made import KINDS, broken_token, loaded, words

KIND = pytest.mark.parametrize("kind", KINDS, ids=str)
BATCHED = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.batching != "single"], ids=str)
COMMON = 270
"""Tokens that all of these prompts have in common: where the model allows it, rows read them together."""


def company(engine: Engine, count: int = 5, say: int = 14) -> list[str]:
    common = words(0, COMMON, engine.model)
    return [
        engine.submit(
            [*common[: COMMON if n % 2 else 3], *words(n, 7 + 11 * n, engine.model)],
            say=words(40 + n, say + 2 * n, engine.model),
        )
        for n in range(count)
    ]


def unharmed(engine: Engine, ids: list[str]) -> None:
    assert [engine.said(id) for id in ids] == [engine.tap.script[id] for id in ids]
    assert all(engine.output.ends[id] == ["length"] for id in ids)


@KIND
def test_gates_4_a_cancelled_neighbour(request, kind):
    model = loaded(kind)
    with MATRIX.cell(request, kind, "4 cancel") as cell, Engine(model) as engine:
        ids = company(engine)
        late = engine.submit(words(50, 900, model), say=words(51, 40, model))
        engine.until(lambda: len(engine.said(ids[1])) == 4)
        for id in (ids[1], late):
            engine.cancel(id)
        engine.tick()
        assert engine.sequences[ids[1]].row is None and engine.sequences[late].row is None, "freed within a step"
        # Newcomers get the slots that were left.
        others = [ids[0], *ids[2:], *company(engine, 2)]
        engine.finish()
        unharmed(engine, others)
        assert engine.output.ends[ids[1]] == engine.output.ends[late] == ["cancelled"]
        assert len(engine.said(ids[1])) < len(engine.tap.script[ids[1]])
        cell.within(engine.worst([*others, ids[1]]), kind.tolerance)


@KIND
def test_gates_4_a_preempted_neighbour(request, kind):
    """Someone else's request takes a row from a user who has two (where there is one, the user's): that one goes on
    later, and both say the same as ever."""
    model = loaded(kind)
    with MATRIX.cell(request, kind, "4 preempt") as cell, Engine(model, max_num_seqs=2) as engine:
        ids = [engine.submit(words(n, 100 * n, model), say=words(40 + n, 24, model), user="one") for n in (1, 2)]
        engine.until(lambda: len(engine.said(ids[0])) >= 5)
        other = engine.submit(words(3, 30, model), say=words(43, 8, model), user="another")
        engine.finish()
        assert engine.core.books.preemptions or kind.batching == "single"
        unharmed(engine, [*ids, other])
        cell.within(engine.worst([*ids, other]), kind.tolerance)


@BATCHED
def test_gates_4_rows_that_give_way_to_growing_ones(request, kind):
    """Memory for three rows of one class, and four rows that outgrow it."""
    model = loaded(kind)
    with MATRIX.cell(request, kind, "4 preempt") as cell, Engine(model, disable_prefix_cache=True) as engine:
        layout = engine.store.layout
        budget = 3 * layout.row_bytes(512) + layout.row_bytes(256)
        bytes_of = engine.core.scheduler.memory._bytes_of
        engine.core.scheduler.memory = Memory(budget, bytes_of, growth=16, spare=0)
        states_alone = layout.row_bytes(512) == layout.row_bytes(256)
        ids = [
            engine.submit(words(n, 236 + n, model), say=words(40 + n, 30, model), user=f"user {n}") for n in range(4)
        ]
        engine.finish()
        assert engine.core.books.preemptions or states_alone
        unharmed(engine, ids)
        cell.within(engine.worst(ids), kind.tolerance)


@pytest.mark.parametrize("place", ["answer", "prompt"])
@KIND
def test_gates_4_a_neighbour_of_not_a_number(request, kind, place):
    """From its embedding on, so that its keys and values are NaN as well. What it leaves in its slot and in the prefix
    cache harms nobody who comes after it."""
    model = loaded(kind)
    broken = model.vocab - 1
    with MATRIX.cell(request, kind, "4 NaN") as cell, Engine(model) as engine, broken_token(model, broken):
        ids = company(engine)
        prompt, say = words(60, 100, model), words(61, 20, model)
        (say if place == "answer" else prompt)[6] = broken
        bad = engine.submit(prompt, say=say)
        engine.finish()
        assert engine.output.ends[bad] == ["engine_error"]
        assert engine.said(bad) == (say[:7] if place == "answer" else [])
        # Every slot is taken again, by rows that are shorter than what was there, beside one that makes all read far.
        after = [*company(engine, 6), engine.submit(words(64, 220, model), say=words(65, 9, model))]
        after += [engine.submit(words(70 + n, 2, model), say=words(80 + n, 9, model)) for n in range(9)]
        again = engine.submit([*prompt[:6], *words(62, 50, model)], say=words(63, 4, model))
        engine.finish()
        unharmed(engine, [*ids, *after, again])
        cell.within(engine.worst([*ids, *after, again]), kind.tolerance)


@KIND
@pytest.mark.parametrize("times", ["always", "once"])
def test_gates_4_a_step_that_fails(request, kind, times):
    """Always with the same one of them in it, whom bisection finds; or once only, and then nobody is to blame."""
    model = loaded(kind)
    with MATRIX.cell(request, kind, "4 error") as cell, Engine(model) as engine:
        ids = company(engine)
        culprit, failures = ids[1], []

        def fails(sequence) -> bool:
            if sequence.id == culprit and sequence.launched >= 5 and not (times == "once" and failures):
                failures.append(sequence.launched)
                return True
            return False

        engine.tap.fails = fails
        engine.finish()
        others = [id for id in ids if id != culprit or times == "once"]
        unharmed(engine, others)
        assert failures
        assert engine.output.ends[culprit] == (["engine_error"] if times == "always" else ["length"])
        cell.within(engine.worst(others), kind.tolerance)


def test_gates_4_several_culprits(request):
    """Each of them is found, whatever the bisection begins with."""
    model = loaded(KINDS[0])
    with MATRIX.cell(request, KINDS[0], "4 error") as cell, Engine(model) as engine:
        ids = company(engine, 9)
        guilty = {ids[0], ids[4], ids[8]}
        engine.tap.fails = lambda sequence: sequence.id in guilty and sequence.launched >= 4
        engine.finish()
        others = [id for id in ids if id not in guilty]
        unharmed(engine, others)
        assert all(engine.output.ends[id] == ["engine_error"] for id in guilty)
        cell.within(engine.worst(others), KINDS[0].tolerance)


@pytest.mark.parametrize(("times", "ending"), [(1, "length"), (2, "server_is_overloaded")])
@pytest.mark.parametrize("kind", [KINDS[0], KINDS[6], KINDS[10], KINDS[-1]], ids=str)
def test_gates_4_a_prompt_that_memory_is_too_short_for(request, kind, times, ending):
    """It waits and tries again, once. Those who decode meanwhile go on."""
    model = loaded(kind)
    with MATRIX.cell(request, kind, "4 error") as cell, Engine(model) as engine:
        ids = company(engine, 3)
        engine.until(lambda: len(engine.said(ids[0])) >= 3)
        large = engine.submit(words(70, 150, model), say=words(71, 5, model))
        prefill, launch, failures = engine.batch.prefill, engine.batch.launch, []

        def short(sequence, tokens: int) -> None:
            if sequence.id == large and len(failures) < times:
                failures.append(tokens)
                raise RuntimeError("[malloc] Unable to allocate 1 bytes.")
            prefill(sequence, tokens)

        def short_beside_rows(prompts) -> Launch:
            """A mixed step fails as a whole; its prompts are then tried one by one."""
            if len(failures) < times and large in [sequence.id for sequence, _ in prompts]:
                raise RuntimeError("[malloc] Unable to allocate 1 bytes.")
            return launch(prompts)

        engine.batch.prefill, engine.batch.launch = short, short_beside_rows
        engine.finish()
        assert len(failures) == times and engine.output.ends[large] == [ending]
        fine = [*ids, *([large] if times == 1 else [])]
        unharmed(engine, fine)
        cell.within(engine.worst(fine), kind.tolerance)
