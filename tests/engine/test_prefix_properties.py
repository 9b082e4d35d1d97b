"""Random lives of the index against what is known of it (see prefix_known)."""

import random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.engine.prefix_world import World

randoms = st.randoms(use_true_random=False)


class Lives(RuleBasedStateMachine):
    """Hypothesis looks for the shortest life that goes wrong."""

    def __init__(self):
        super().__init__()
        self.world = World(capacity=9)

    @rule(rng=randoms)
    def match(self, rng):
        self.world.match(self.world.text(rng), rng)

    @rule(rng=randoms)
    def plan(self, rng):
        self.world.plan(self.world.text(rng), rng)

    @rule(rng=randoms)
    def settle(self, rng):
        self.world.settle(rng)

    @rule(rng=randoms)
    def hold(self, rng):
        self.world.hold(self.world.text(rng), rng)

    @rule(rng=randoms)
    def release(self, rng):
        self.world.release(rng)

    @rule(rng=randoms)
    def pin(self, rng):
        self.world.pin(self.world.text(rng))

    @rule(rng=randoms)
    def unpin(self, rng):
        self.world.unpin(rng)

    @rule(rng=randoms)
    def evict(self, rng):
        self.world.evict(rng)

    @rule(rng=randoms)
    def attach(self, rng):
        self.world.attach(self.world.text(rng), rng)

    @rule(rng=randoms)
    def resize(self, rng):
        rng.choice([self.world.grow, self.world.shrink])(rng)

    @rule()
    def clear(self):
        self.world.clear()

    @invariant()
    def holds(self):
        self.world.check()

    def teardown(self):
        self.world.finish(random.Random(0))


TestLives = Lives.TestCase
TestLives.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_a_hundred_thousand_operations():
    rng = random.Random(7)
    for life in range(10):
        world = World(capacity=rng.randint(1, 40), reserve=life % 2 / 8)
        for step in range(10_000):
            world.act(rng)
            if step % 50 == 0:
                world.check()
        world.finish(rng)
