"""Admission by memory: what is promised, and what a row may grow to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.engine.scheduling.memory import Memory


def exact(budget, **options):
    return Memory(budget, lambda tokens: 10 * tokens, **{"growth": 8, "spare": 0.0, **options})


def test_a_newcomer_needs_its_context_and_a_growth_step():
    memory = exact(1000)
    memory.admit("a", 42)
    assert memory.used == 500
    assert memory.tokens("a") == 50
    assert memory.has_room(42)
    assert not memory.has_room(43)
    with pytest.raises(MemoryError):
        memory.admit("b", 43)
    assert memory.used == 500


def test_newcomers_leave_something_for_those_that_run():
    memory = exact(1000, spare=0.1)
    memory.admit("a", 42)
    assert memory.has_room(32)
    assert not memory.has_room(33)
    assert memory.grow("a", 50), "the spare part is for this"


def test_the_only_one_may_fill_the_budget():
    memory = exact(1000, spare=0.1)
    assert memory.fits_ever(100)
    assert not memory.fits_ever(101)
    assert memory.longest() == 100
    memory.admit("a", 99)
    assert memory.used == 1000
    assert not memory.grow("a", 100)
    memory.release("a")
    assert memory.used == 0


def test_room_once_others_have_left():
    memory = exact(1000)
    memory.admit("a", 42)
    memory.admit("b", 42)
    assert not memory.has_room(10)
    assert memory.has_room(42, ["a"])
    assert not memory.has_room(43, ["a"])
    assert memory.has_room(99, ["a", "b"]), "then it is alone"


def test_growth_within_a_capacity_class_costs_nothing():
    memory = Memory(1024, lambda tokens: max(64, 1 << (tokens - 1).bit_length()), growth=8, spare=0.0)
    memory.admit("a", 20)
    assert memory.used == 64
    assert memory.grow("a", 28)
    assert memory.used == 64
    assert memory.grow("a", 64)
    assert memory.used == 128


def test_growth_takes_less_than_a_step_when_that_is_all_there_is():
    memory = exact(560)
    memory.admit("a", 20)
    memory.admit("b", 12)
    assert memory.used == 480
    assert memory.grow("b", 24)
    assert memory.tokens("b") == 25
    assert memory.grow("b", 27)
    assert not memory.grow("b", 28)
    assert memory.tokens("b") == 28


@given(st.integers(0, 1 << 20), st.integers(1, 3000))
def test_the_longest_is_the_last_that_fits(budget, size):
    memory = Memory(budget, lambda tokens: size * tokens)
    longest = memory.longest()
    assert memory.fits_ever(longest)
    assert not memory.fits_ever(longest + 1)
