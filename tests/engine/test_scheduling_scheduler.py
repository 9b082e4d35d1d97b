"""The plan of each step, on records without a model."""

import pytest

from inference.engine.scheduling.memory import Memory
from inference.engine.scheduling.rate import GRID
from inference.engine.scheduling.scheduler import QueueFull, Scheduler
from inference.engine.scheduling.waiting import CLASS_AGEING
from tests.benchmarks.machine import Costs, Machine
from tests.engine.scheduled import fill, machine, names, request, steps

PLENTY = 1 << 40


class TestPrefill:
    def test_a_short_prompt_is_prefilled_whole_and_decodes(self):
        m = machine()
        m.add(request(1, prompt=10))
        step = m.step()
        assert [(job.id, tokens) for job, tokens in step.plan.prefill] == [("1", 9)]
        assert not step.plan.decode
        assert m.step().plan.decode

    def test_one_token_has_nothing_to_prefill_and_joins(self):
        m = machine()
        m.add(request(1, prompt=1))
        assert [tokens for _, tokens in m.step().plan.prefill] == [0]
        assert names(m.scheduler.running) == ["1"]

    def test_several_short_prompts_share_a_step(self):
        m = machine(chunk=192)
        for n in range(4):
            m.add(request(n, prompt=51))
        assert [tokens for _, tokens in m.step().plan.prefill] == [50, 50, 50]

    def test_no_more_than_so_many_at_once(self):
        m = machine(prefill_batch_size=2)
        for n in range(5):
            m.add(request(n, prompt=11))
        assert len(m.step().plan.prefill) == 2

    def test_a_users_shortest_goes_first_but_the_long_one_gets_its_turn(self):
        m = machine(chunk=64)
        m.add(request("long", prompt=2000))
        m.add(request("short", prompt=50))
        assert names(m.step().plan.admit) == ["short"]
        m.now = 60.0
        m.add(request("late", prompt=50, received=60.0))
        assert names(m.step().plan.admit) == ["long"]

    def test_what_is_cached_counts_as_done(self):
        m = Scheduler(memory=Memory(PLENTY, lambda n: n), cached=lambda job: 990 if job.id == "warm" else 0)
        m.add(request("cold", prompt=200), 0.0)
        m.add(request("warm", prompt=1001), 0.0)
        plan = m.plan(0.0)
        assert [(job.id, tokens) for job, tokens in plan.prefill] == [("warm", 10), ("cold", 199)]

    def test_held_requests_are_passed_over_and_keep_their_turn(self):
        held = {"1"}
        m = Scheduler(memory=Memory(PLENTY, lambda n: n), chunk=64, held=lambda job: job.id in held)
        m.add(request(1, prompt=50), 0.0)
        m.add(request(2, prompt=60), 0.0)
        m.add(request(3, prompt=65), 0.0)
        assert names(m.plan(0.0).admit) == ["2"]
        held.clear()
        m.remove(m.prefilling)
        assert names(m.plan(0.0).admit) == ["1"]

    def test_ten_that_share_a_cold_prefix_prefill_it_once(self):
        m = machine(chunk=256)
        for n in range(10):
            m.add(request(n, prompt=1320, prefix=7, shared=1300, output=1))
        tokens = 0
        while len(m.scheduler):
            tokens += sum(count for _, count in m.step().plan.prefill)
        assert tokens == 1300 + 10 * 19

    def test_a_newcomer_overtakes_a_long_prompt_after_one_chunk(self):
        m = machine(chunk=512)
        m.add(request("long", prompt=20_000))
        m.step()
        m.add(request("short", "bob", prompt=100))
        assert m.step().plan.prefill[0][0].id == "short"
        assert names(m.scheduler.running) == ["short"]


class TestStalls:
    def test_the_first_chunk_beside_a_decoding_row_is_the_smallest(self):
        m = Scheduler(memory=Memory(PLENTY, lambda n: n))
        first = request(1, prompt=1)
        m.add(first, 0.0)
        m.plan(0.0)
        m.start([first])
        m.add(request(2, "bob", prompt=10_000), 0.0)
        assert [tokens for _, tokens in m.plan(0.0).prefill] == [GRID]

    @pytest.mark.parametrize("attention", [0.0, 0.3 / 4000 / 10_000, 1.5 / 4000 / 10_000])
    @pytest.mark.parametrize("mixed", [False, True])
    def test_no_step_is_longer_than_the_bound(self, attention, mixed):
        m = Machine(costs=Costs(prefill_attention=attention), max_stall=0.1, mixed=mixed)
        fill(m, "ann", 4)
        m.add(request("long", "bob", prompt=16_000))
        longest, taken = 0.0, 0
        while "long" not in names(m.scheduler.running):
            longest = max(longest, m.step().seconds)
            taken += 1
        assert longest < 0.105
        assert m.now / taken > 0.06, "and the time that is allowed is used"

    def test_a_slow_machine_still_gets_on(self):
        m = machine(max_stall=0.01)
        fill(m, "ann", 1)
        m.add(request("long", "bob", prompt=641))
        assert steps(m, lambda: len(m.scheduler.running) < 2) == 10


class TestQueue:
    def test_it_is_bounded_beyond_the_rows_that_are_free(self):
        m = machine(max_rows=2, max_waiting=1)
        for n in range(3):
            m.add(request(n))
        with pytest.raises(QueueFull):
            m.add(request(3))
        assert len(m.scheduler) == 3

    def test_removed_ones_are_gone_wherever_they_were(self):
        m = machine(max_rows=2, chunk=128)
        requests = [request(1, prompt=30, output=100), request(2, prompt=500), request(3, prompt=800)]
        for each in requests:
            m.add(each)
        m.step()
        s = m.scheduler
        assert (names(s.running), names(s.prefilling), names(s.waiting)) == (["1"], ["2"], ["3"])
        s.remove(requests)
        s.remove(requests)
        assert len(s) == 0
        assert (s.running, s.prefilling, s.waiting, s.memory.used) == ([], [], [], 0)

    def test_deadlines_hold_everywhere(self):
        m = machine(max_rows=1)
        running, waiting = request(1, deadline=5.0), request(2, deadline=4.0)
        for each in (running, waiting, request(3)):
            m.add(each)
        m.step()
        assert m.scheduler.expired(3.9) == []
        assert names(m.scheduler.expired(4.0)) == ["2"]
        assert names(m.scheduler.expired(9.0)) == ["2", "1"], "until they are removed"
        m.scheduler.remove([running, waiting])
        assert m.scheduler.expired(9.0) == []

    @pytest.mark.parametrize("bad", [dict(id="0"), dict(priority="vip"), dict(weight=0.0), dict(prompt=2000)])
    def test_what_can_never_be_served_is_refused(self, bad):
        m = machine(memory=Memory(1000, lambda tokens: tokens))
        m.add(request(0))
        with pytest.raises(ValueError):
            m.add(request(**{"id": "1", **bad}))
        assert len(m.scheduler) == 1


class TestClasses:
    def test_they_are_in_strict_order(self):
        m = machine(max_rows=1, chunk=64)
        for n, priority in enumerate(("batch", "api", "interactive")):
            m.add(request(priority, f"user-{n}", output=1, priority=priority))
        order = []
        while len(m.scheduler):
            order += names(m.step().plan.admit)
        assert order == ["interactive", "api", "batch"]

    def test_a_lower_class_gives_way_and_never_the_other_way_round(self):
        m = machine(max_rows=2)
        fill(m, "night", 2, priority="batch")
        m.add(request("chat", "ann"))
        plan = m.step().plan
        assert (names(plan.preempt), names(plan.admit)) == (["night-1"], ["chat"])
        for n in range(50):
            m.add(request(n, "more", priority="api"))
        while "chat" in names(m.scheduler.running + m.scheduler.prefilling):
            assert "chat" not in names(m.step().plan.preempt)

    def test_what_waits_long_rises_one_request_at_a_time(self):
        m = machine(max_rows=1)
        m.add(request("old-1", "night", priority="batch"))
        m.add(request("old-2", "night", priority="batch"))
        m.add(request("ann-1", "ann", output=40_000))
        m.step()
        m.now += 2.5 * CLASS_AGEING
        for _ in range(3):
            m.step()
            m.now += CLASS_AGEING
        m.add(request("ann-2", "ann"))
        m.scheduler.remove(m.scheduler.running)
        assert names(m.step().plan.admit) == ["old-1"]
        steps(m, lambda: "old-1" in names(m.scheduler.running + m.scheduler.prefilling))
        assert names(m.step().plan.admit) == ["ann-2"]
