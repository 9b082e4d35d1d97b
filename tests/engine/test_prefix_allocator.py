"""Runs of blocks: long ones, behind the parent where that is free, and none given twice."""

import random

import pytest

from inference.engine.prefix.allocator import Allocator


def test_a_fresh_pool_is_one_run():
    pool = Allocator(10)
    assert pool.allocate(4) == [range(4)]
    assert pool.allocate(6) == [range(4, 10)]
    assert pool.free == 0 and pool.runs() == [] and pool.allocate(0) == []


def test_the_run_behind_the_parent_comes_first():
    pool = Allocator(20)
    pool.allocate(20)
    for block in [3, 4, 10, 11, 12, 13, 14]:
        pool.release(block)
    assert pool.allocate(3, after=2) == [range(3, 5), range(10, 11)]
    assert pool.allocate(1, after=5) == [range(11, 12)]


def test_the_run_that_fits_is_cut_before_a_larger_one():
    pool = Allocator(40, used=[10, 14, 39])
    assert sorted(map(len, pool.runs())) == [3, 10, 24]
    assert pool.allocate(3) == [range(11, 14)]
    assert pool.allocate(9) == [range(9)]


def test_without_a_run_that_fits_the_longest_are_taken():
    pool = Allocator(12, used=[3, 8])
    assert pool.allocate(7) == [range(4, 8), range(3)]
    pool = Allocator(12, used=[3, 8])
    assert sum(map(len, pool.allocate(10))) == 10


def test_neighbours_join():
    pool = Allocator(5)
    pool.allocate(5)
    for block in (1, 3, 2, 0, 4):
        pool.release(block)
    assert pool.runs() == [range(5)]


def test_what_is_not_in_use_can_not_be_released():
    pool = Allocator(4)
    pool.allocate(1)
    pool.release(0)
    for block in (0, 3, 4, -1):
        with pytest.raises(ValueError, match="not in use"):
            pool.release(block)


def test_more_than_is_free_is_refused():
    pool = Allocator(4)
    with pytest.raises(ValueError, match="4 are free"):
        pool.allocate(5)
    assert pool.free == 4


def test_growing_joins_the_last_run():
    pool = Allocator(4, used=[0])
    pool.grow(9)
    assert pool.runs() == [range(1, 9)] and pool.free == 8
    with pytest.raises(ValueError, match="can't grow"):
        pool.grow(3)


def test_ten_thousand_steps_against_a_set():
    rng = random.Random(3)
    pool, used, capacity = Allocator(50), set(), 50
    for _ in range(10_000):
        if rng.random() < 0.5:
            after = rng.choice([None, rng.randrange(-1, capacity)])
            runs = pool.allocate(rng.randint(0, min(9, pool.free)), after)
            given = [block for run in runs for block in run]
            assert not used & set(given) and len(set(given)) == len(given)
            if given and after in used and after + 1 < capacity and after + 1 not in used:
                assert given[0] == after + 1
            used |= set(given)
        elif used:
            block = rng.choice(sorted(used))
            pool.release(block)
            used.remove(block)
        elif capacity < 80:
            capacity += 5
            pool.grow(capacity)
        free = sorted(set(range(capacity)) - used)
        edges = [b for b in free if b - 1 not in free]
        assert pool.free == len(free)
        assert sorted(run.start for run in pool.runs()) == edges
        assert sorted(block for run in pool.runs() for block in run) == free
