"""When those that a full engine refuses are told to come back."""

import pytest

from inference.engine.room import LONGEST, SHORTEST, Room


class Clocks:
    """An engine that works all the time, unless told otherwise."""

    def __init__(self) -> None:
        self.now = self.busy = 0.0
        self.room = Room(lambda: self.busy, lambda: self.now)

    def work(self, seconds: float) -> None:
        self.now += seconds
        self.busy += seconds


@pytest.fixture
def engine() -> Clocks:
    return Clocks()


def test_it_is_the_pace_at_which_others_leave(engine: Clocks) -> None:
    for _ in range(100):
        engine.work(2.0)
        engine.room.left()
    assert engine.room.wait() == pytest.approx(2.0, rel=0.05)


def test_those_refused_come_back_one_after_the_other(engine: Clocks) -> None:
    for _ in range(100):
        engine.work(2.0)
        engine.room.left()
    waits = [engine.room.wait() for _ in range(5)]
    assert waits == pytest.approx([2, 4, 6, 8, 10], rel=0.05)
    # Whoever was promised something by then has come, or won't.
    engine.work(4.0)
    engine.room.left()
    engine.room.left()
    assert engine.room.wait() == pytest.approx(8.0, rel=0.05)
    engine.now += 1000
    assert engine.room.wait() == pytest.approx(2.0, rel=0.05)


def test_rest_is_not_slowness(engine: Clocks) -> None:
    for _ in range(100):
        engine.work(0.5)
        engine.room.left()
    engine.now += 36_000  # a night
    assert engine.room.wait() == pytest.approx(0.5, rel=0.05)


def test_an_engine_that_gets_slower_says_so(engine: Clocks) -> None:
    for _ in range(100):
        engine.work(0.5)
        engine.room.left()
    before = engine.room.wait()
    engine.work(320)  # and nobody has left
    assert engine.room.wait() > 8 * before


def test_while_nobody_has_left_it_is_as_long_again(engine: Clocks) -> None:
    assert engine.room.wait() == SHORTEST
    engine.work(20)
    assert engine.room.wait() == pytest.approx(20)


def test_it_is_never_without_end(engine: Clocks) -> None:
    engine.work(10_000)
    assert [engine.room.wait() for _ in range(3)] == [LONGEST] * 3
