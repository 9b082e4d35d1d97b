"""What requests with a common beginning share: the work of prefilling it, and the memory that holds it."""

import pytest

from tests.support.engine_made import MATRIX, Engine
from tests.support.models_made import KINDS, loaded, words

CACHED = [kind for kind in KINDS if kind.batching != "single"]
KIND = pytest.mark.parametrize("kind", CACHED, ids=str)
PREFIX = 1300
"""Tokens of a system prompt: 40 blocks and a part of one."""


@KIND
def test_gates_a_cold_prefix_is_prefilled_once(request, kind):
    """Ten requests at once, nothing cached: they prefill the prefix and all suffixes, and not a token more. The last
    token of a prompt is never prefilled but decoded, so that each suffix counts one less."""
    model = loaded(kind)
    prefix = words(1, PREFIX, model)
    suffixes = [words(10 + n, 4 + 9 * n, model) for n in range(10)]
    with MATRIX.cell(request, kind, "in flight") as cell, Engine(model) as engine:
        ids = [engine.submit([*prefix, *suffix], say=words(50 + n, 3, model)) for n, suffix in enumerate(suffixes)]
        engine.finish()
        assert engine.core.books.prefill_tokens == PREFIX + sum(len(suffix) - 1 for suffix in suffixes)
        assert engine.core.books.cached_tokens == 9 * PREFIX
        # Three of them: for each, mlx-lm prefills the prefix anew, and that takes the time of this test.
        cell.within(engine.worst([ids[0], ids[4], ids[9]]), kind.tolerance)


@KIND
def test_gates_equal_prompts_are_prefilled_once(request, kind):
    """n choices, or the same question from many."""
    model = loaded(kind)
    prompt = words(1, 300, model)
    with MATRIX.cell(request, kind, "in flight") as cell, Engine(model) as engine:
        ids = [engine.submit(prompt, say=words(50 + n, 4, model)) for n in range(6)]
        engine.finish()
        assert engine.core.books.prefill_tokens == len(prompt) - 1
        cell.within(engine.worst(ids), kind.tolerance)


@KIND
def test_gates_followers_do_not_wait_for_a_leader_that_left(request, kind):
    """It is cancelled in the middle of the prefix; what it did is not done again."""
    model = loaded(kind)
    prefix = words(1, PREFIX, model)
    with MATRIX.cell(request, kind, "in flight") as cell, Engine(model, prefill_chunk=256) as engine:
        ids = [engine.submit([*prefix, *words(10 + n, 20, model)], say=words(50 + n, 3, model)) for n in range(4)]
        engine.until(lambda: engine.core.books.prefill_tokens >= 500)
        leader = max(engine.sequences.values(), key=lambda sequence: sequence.prefilled)
        engine.cancel(leader.id)
        engine.finish()
        done = engine.core.books.prefill_tokens
        followers = [id for id in ids if id != leader.id]
        # A state is kept where the leader stood when it left. And nobody waits for less than a block: a chunk of the
        # new leader's that ends just before the prefix does lets the others go on by themselves.
        again = 2 * 31
        assert PREFIX + 3 * 19 <= done <= PREFIX + 3 * 19 + again
        cell.within(engine.worst(followers[:2]), kind.tolerance)


def bytes_in_use(engine: Engine) -> int:
    """Of keys and values: those of every row in slots, and each block of the pool once, whoever reads it. Slots of a
    class are wider than what they hold; that they could be refilled tomorrow is not counted for either side."""
    layout = engine.store.layout
    rows = [row for bank in engine.store.banks for row in bank.rows if row is not None]
    cells = sum(cells * layout.leaves[leaf].token_bytes for row in rows for leaf, cells in row.bank.used(row))
    return cells + engine.prefix.counters().bytes


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[8]], ids=str)
def test_gates_a_shared_prefix_is_held_once(request, kind):
    """16 users behind one system prompt, against --no-shared-prefixes: the same logits in a fifth of the bytes, pool
    and suffixes included."""
    model = loaded(kind)
    prefix = words(1, PREFIX, model)
    used, slots = {}, {}
    with MATRIX.cell(request, kind, "one copy") as cell:
        for share in (True, False):
            with Engine(model, no_shared_prefixes=not share) as engine:
                ids = []
                for n in range(16):
                    prompt = [*prefix, *words(10 + n, 20 + n, model)]
                    ids.append(engine.submit(prompt, say=words(50 + n, 12, model), user=f"user {n}"))
                engine.until(lambda: len(engine.said("r15")) >= 6)
                used[share] = bytes_in_use(engine)
                slots[share] = sum(bank.nbytes for bank in engine.store.banks if not bank.empty)
                assert engine.most_sharing == (16 if share else 0)
                engine.finish()
                cell.within(engine.worst(ids[::5]), kind.tolerance)
        assert used[True] < 0.2 * used[False]
        assert slots[True] < 0.2 * slots[False], "what is allocated falls as well"
