"""Gate 5: whatever requests come, end, fail and are cancelled, nothing is left of them, and every token is counted."""

import gc
import logging
import random

import mlx.core as mx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.engine.protocol import Sampling
from inference.engine.scheduling.memory import Memory
from tests.support.engine_made import MATRIX, Engine
from tests.support.models_made import KINDS, loaded, words

FEW = pytest.mark.parametrize("kind", [KINDS[0], KINDS[6], KINDS[9], KINDS[10], KINDS[-1]], ids=str)
SUBMISSIONS = st.fixed_dictionaries(
    {
        "prefix": st.integers(0, 2),
        "shared": st.sampled_from([0, 40, 290]),
        "length": st.integers(1, 60),
        "max_tokens": st.integers(1, 40),
        "user": st.sampled_from(["one", "two", "three"]),
        "priority": st.sampled_from(["interactive", "api", "batch"]),
        "seed": st.integers(0, 3),
        "fate": st.sampled_from(["end", "end", "stop", "fail", "cancel"]),
        "when": st.integers(0, 12),
    }
)
ACTIONS = st.lists(st.one_of(SUBMISSIONS, st.integers(1, 8)), min_size=1, max_size=14)
"""Requests, and numbers of steps between them."""


def small(kind, **options) -> Engine:
    """Three rows, and memory for two and a half of the second class: everyone is in everyone's way."""
    engine = Engine(loaded(kind), max_num_seqs=3, max_waiting=6, **options)
    scheduler, layout = engine.core.scheduler, engine.store.layout
    if kind.batching != "single":
        budget = 2 * layout.row_bytes(512) + layout.row_bytes(256)
        scheduler.memory = Memory(budget, scheduler.memory._bytes_of, growth=16, spare=0)
    return engine


def submit(engine: Engine, asked: dict) -> str:
    beginning = words(asked["prefix"], asked["shared"], engine.model)
    prompt = beginning + words(99 + asked["seed"], asked["length"], engine.model)
    id = engine.submit(
        prompt,
        max_tokens=asked["max_tokens"],
        user=asked["user"],
        priority=asked["priority"],
        sampling=Sampling(temperature=float(asked["seed"] > 0), seed=asked["seed"]),
        stop_after=asked["when"] + 1 if asked["fate"] == "stop" else None,
    )
    fails = engine.tap.fails
    if asked["fate"] == "fail":
        engine.tap.fails = lambda sequence: (
            fails(sequence) or (sequence.id == id and sequence.launched >= asked["when"])
        )
    return id


def assert_nothing_is_left(engine: Engine) -> None:
    core, prefix, store = engine.core, engine.prefix, engine.store
    assert not core.roster.live and not len(core.scheduler) and not core.scheduler.waiting
    assert core.scheduler.memory.used == 0 and core._launch is None
    assert not engine.batch._open and not any(engine.batch.lanes) and not engine.batch.rows
    assert all(bank.empty for bank in store.banks)
    assert all(sequence.row is None and sequence.chain is None for sequence in engine.sequences.values())
    if engine.core.batching != "single":
        counters = prefix.counters()
        assert counters.blocks_held == counters.blocks_shared == 0
        assert counters.blocks_used + prefix.index._stock.allocator.free == prefix.index.capacity
        assert not (prefix._wanted or prefix._prefilling or prefix._stops or prefix._shared)
        assert not prefix.index._inserter.open


def assert_all_is_counted(engine: Engine) -> None:
    """Each request ended once, and what was said, charged and computed are the same tokens."""
    assert all(len(engine.output.ends.get(id, [])) == 1 for id in engine.sequences)
    for id, sequence in engine.sequences.items():
        assert len(engine.said(id)) + engine.output.unsaid.get(id, 0) == sequence.generated
        assert sequence.generated <= sequence.max_tokens
        assert 0 <= sequence.cached < len(sequence.prompt)
    stats = engine.core.stats()
    assert stats.generated_tokens == sum(sequence.generated for sequence in engine.sequences.values())
    assert stats.cached_tokens == sum(sequence.cached for sequence in engine.sequences.values())
    assert stats.running == stats.waiting == 0
    bills = sum(sequence.engine_seconds for sequence in engine.sequences.values())
    assert bills <= stats.busy_seconds + 1e-9


@FEW
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(actions=ACTIONS)
def test_gates_5_nothing_is_left_of_any_requests(kind, actions):
    with small(kind) as engine:
        doomed: dict[str, int] = {}
        for action in actions:
            if isinstance(action, dict):
                id = submit(engine, action)
                if action["fate"] == "cancel":
                    doomed[id] = action["when"]
                continue
            for _ in range(action):
                engine.tick()
                for id in [id for id, steps in doomed.items() if not steps]:
                    engine.cancel(id)
                    del doomed[id]
                doomed = {id: steps - 1 for id, steps in doomed.items()}
        engine.finish()
        engine.core.books.look()
        assert_nothing_is_left(engine)
        assert_all_is_counted(engine)


@FEW
def test_gates_5_a_thousand_requests_leave_nothing(request, caplog, kind):
    """Short ones, a third of them cancelled, failing or stopped, under memory and users that make rows give way. Memory
    in use after the last one is what it was after the first two hundred, within 3 %."""
    rng = random.Random(5)
    # pytest keeps what is logged, exceptions keep their frames, and those the arrays of the step.
    caplog.set_level(logging.CRITICAL, logger="inference.engine")
    with MATRIX.cell(request, kind, "5 leaks"), small(kind, max_cache_blocks=64) as engine:
        baseline = 0
        for number in range(1000 if kind is KINDS[0] else 300):
            if number == 200:
                engine.finish()
                baseline = memory_in_use(engine)
            fate = rng.choice(["end"] * 6 + ["stop", "cancel"] + ["fail"] * (number % 2))
            asked = {
                "prefix": rng.randrange(2), "shared": rng.choice([0, 0, 40, 270]), "length": rng.randrange(1, 24),
                "max_tokens": rng.randrange(1, 8), "user": rng.choice("abc"), "priority": "api", "seed": number % 4,
                "fate": fate, "when": rng.randrange(4),
            }  # fmt: skip
            while len(engine.core.roster.live) > 6:
                engine.tick()
            id = submit(engine, asked)
            if fate == "cancel":
                engine.tick()
                engine.cancel(id)
        engine.finish()
        engine.core.books.look()
        assert_nothing_is_left(engine)
        assert_all_is_counted(engine)
        kept = memory_in_use(engine)
        assert abs(kept - baseline) <= 0.03 * baseline, f"{baseline} bytes became {kept}"
        reasons = {reason for reasons in engine.output.ends.values() for reason in reasons}
        assert reasons >= {"length", "stop", "cancelled", "engine_error"}
        assert engine.core.books.preemptions or kind.batching == "single"


def memory_in_use(engine: Engine) -> int:
    """Less what the test itself has on record, and engines of other tests, which are full of cycles."""
    engine.tap.steps.clear()
    gc.collect()
    mx.clear_cache()
    return mx.get_active_memory()
