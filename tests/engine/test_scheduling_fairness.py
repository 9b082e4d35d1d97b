"""Who gets how much: seeded replays on a machine that only costs time."""

import random
from collections import Counter

import pytest

from inference.engine.scheduling.memory import Memory
from tests.benchmarks.machine import Costs, Machine, Request
from tests.benchmarks.simulator import Workload, replay

MAX_STALL = 0.1


class Crowd:
    """Users who always have requests waiting, and what was computed for each."""

    def __init__(self, weights, lengths, **options):
        self.served = dict.fromkeys(weights, 0.0)
        self.machine = Machine(on_service=self._serve, max_stall=MAX_STALL, **options)
        self._weights = weights
        self._lengths = lengths
        self._dice = random.Random(5)
        self._made = 0

    def _serve(self, request, tokens):
        if request.user in self.served:
            self.served[request.user] += tokens

    def run(self, steps):
        for step in range(steps):
            if step % 8 == 0:
                self._fill_up()
            self.machine.step()
        return self.served

    def _fill_up(self):
        """Far more than a few steps can take in."""
        waiting = Counter(job.user for job in self.machine.scheduler.waiting)
        for user in self._weights:
            for _ in range(100 - waiting[user]):
                self._add(user)

    def _add(self, user):
        self._made += 1
        prompt, output = (self._dice.randint(2, most) for most in self._lengths[user])
        weight = self._weights[user]
        self.machine.add(Request(str(self._made), user, prompt, output, received=self.machine.now, weight=weight))


SHAPES = {
    "alike": {"ann": (600, 200), "bob": (600, 200)},
    "long prompts beside long answers": {"ann": (3000, 20), "bob": (50, 800)},
    "many short beside few long": {"ann": (60, 30), "bob": (4000, 1000)},
}


# What a request more or less makes is a constant, so few rows need more steps.
@pytest.mark.parametrize(("rows", "steps"), [(4, 24_000), (32, 4000)])
@pytest.mark.parametrize("shape", SHAPES)
def test_two_equal_users_who_always_wait_are_served_alike(shape, rows, steps):
    served = Crowd({"ann": 1.0, "bob": 1.0}, SHAPES[shape], max_rows=rows).run(steps)
    assert min(served.values()) > 50_000
    assert abs(served["ann"] - served["bob"]) < 0.05 * max(served.values())


@pytest.mark.parametrize(("rows", "steps"), [(4, 24_000), (32, 4000)])
@pytest.mark.parametrize("shape", SHAPES)
def test_weights_of_one_to_three_are_served_one_to_three(shape, rows, steps):
    served = Crowd({"ann": 1.0, "bob": 3.0}, SHAPES[shape], max_rows=rows).run(steps)
    assert served["bob"] / served["ann"] == pytest.approx(3.0, rel=0.05)


def test_little_memory_is_shared_alike_too():
    memory = Memory(20_000, lambda tokens: tokens)
    crowd = Crowd({"ann": 1.0, "bob": 1.0}, SHAPES["many short beside few long"], memory=memory)
    served = crowd.run(9000)
    assert abs(served["ann"] - served["bob"]) < 0.05 * max(served.values())


def test_who_was_away_has_saved_nothing_up():
    """Ann alone for long; when Bob comes, both get the same from then on."""
    crowd = Crowd({"ann": 1.0}, {"ann": (600, 200), "bob": (600, 200)})
    before = crowd.run(2000)["ann"]
    crowd.served["bob"], crowd._weights["bob"] = 0.0, 1.0
    served = crowd.run(4000)
    assert served["bob"] == pytest.approx(served["ann"] - before, rel=0.05)


@pytest.mark.parametrize("when", [1, 3, 40, 400])
@pytest.mark.parametrize("rows", [4, 32])
def test_a_light_users_short_request_does_not_wait_for_64_long_ones(rows, when):
    """It starts in the next step, is done prefilling in it, and has its first token in the one after."""
    machine = Machine(costs=Costs(noise=0.0), max_rows=rows, max_stall=MAX_STALL)
    for n in range(64):
        machine.add(Request(f"long-{n}", "heavy", prompt=8000, output=1000))
    for _ in range(when):
        machine.step()
    short = Request("short", "light", prompt=100, output=5, received=machine.now)
    machine.add(short)
    plan = machine.step().plan
    assert plan.admit[0] is short
    assert plan.prefill[0] == (short, 99)
    machine.step()
    assert short.first_token is not None


def test_a_small_replay():
    report = replay(Workload(2000, 100, seed=3), max_stall=MAX_STALL, seed=3)
    assert report.finished == 2000
    assert max(report.stalls) < 1.1 * MAX_STALL
    light, heavy = report.first_tokens["light interactive"], report.first_tokens["heavy interactive"]
    assert sorted(light)[len(light) * 99 // 100] < 3.0
    assert sorted(light)[len(light) // 2] < 0.1 * sorted(heavy)[len(heavy) // 2]
    assert report.preemptions < report.finished / 4


def test_the_same_seed_gives_the_same_replay():
    first, second = (replay(Workload(300, 30, seed=9), seed=9) for _ in range(2))
    first.plans = second.plans = []
    assert first == second
