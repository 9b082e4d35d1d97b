"""The plan of each step, on records without a model."""

import pytest

from inference.engine.scheduling.memory import Memory
from inference.engine.scheduling.rate import GRID
from inference.engine.scheduling.scheduler import QueueFull, Scheduler
from inference.engine.scheduling.waiting import CLASS_AGEING
from tests.benchmarks.machine import Costs, Machine, Request

PLENTY = 1 << 40


def machine(**options):
    return Machine(costs=Costs(noise=0.0), **options)


def request(id, user="ann", prompt=100, output=10, **fields):
    return Request(str(id), user, prompt, output, **fields)


def names(jobs):
    return [job.id for job in jobs]


def fill(machine, user, count, output=10_000, **fields):
    """The user's requests get rows and decode."""
    filling = [request(f"{user}-{n}", user, prompt=65, output=output, **fields) for n in range(count)]
    for each in filling:
        machine.add(each)
    steps(machine, lambda: not all(each.launched for each in filling))
    return filling


def steps(machine, busy, limit=500):
    """Steps for as long as there is something to wait for; how many."""
    taken = 0
    while busy():
        machine.step()
        taken += 1
        assert taken < limit
    return taken


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
    def test_no_step_is_longer_than_the_bound(self, attention):
        m = Machine(costs=Costs(prefill_attention=attention), max_stall=0.1)
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


class TestPreemption:
    def test_a_newcomer_without_a_row_takes_the_heaviest_users_youngest(self):
        m = machine(max_rows=8)
        heavy = fill(m, "heavy", 7)
        fill(m, "small", 1)
        m.add(request("new", "new"))
        step = m.step()
        assert (names(step.plan.preempt), names(step.plan.admit)) == ([heavy[-1].id], ["new"])
        assert heavy[-1].id in names(m.scheduler.waiting)

    def test_users_with_one_row_each_keep_it_until_they_have_had_clearly_more(self):
        m = machine(max_rows=2)
        fill(m, "ann", 1)
        fill(m, "bob", 1)
        m.add(request("new", "new", output=5000))
        taken = steps(m, lambda: "new" in names(m.scheduler.waiting), limit=5000)
        assert 900 < taken < 1100, "2048 weighted tokens are 1024 steps"

    def test_a_single_row_goes_round_without_ping_pong(self):
        m = machine(max_rows=1)
        m.add(request("a", "ann", output=20_000))
        m.step()
        m.add(request("b", "bob", output=20_000))
        preempted = sum(len(m.step().plan.preempt) for _ in range(10_000))
        assert 3 <= preempted <= 12

    def test_equal_users_end_with_equal_rows_and_stay_there(self):
        m = machine(max_rows=8)
        fill(m, "ann", 8, output=100_000)
        for n in range(8):
            m.add(request(f"bob-{n}", "bob", output=100_000))
        for _ in range(3000):
            m.step()
        users = [job.user for job in m.scheduler.running]
        assert (users.count("ann"), users.count("bob")) == (4, 4)
        assert not any(m.step().plan.preempt for _ in range(3000))

    def test_it_goes_on_where_it_was_and_before_its_users_others(self):
        m = machine(max_rows=2, prefill_batch_size=1)
        heavy = fill(m, "heavy", 2, output=400)
        m.add(request("next", "heavy", prompt=5))
        for _ in range(100):
            m.step()
        said = heavy[1].launched
        m.add(request("new", "new", output=3))
        m.step()
        assert heavy[1].preemptions == 1
        assert heavy[1].context == 64 + said
        assert heavy[1].to_prefill < 32, "its blocks are in the prefix cache"
        steps(m, lambda: heavy[1].id not in names(m.scheduler.running))
        assert "next" in names(m.scheduler.waiting)
        assert heavy[1].launched == said

    def test_not_again_before_it_got_something_for_coming_back(self):
        m = machine(max_rows=2)
        fill(m, "heavy", 2)
        for n in range(40):
            m.add(request(n, f"user-{n}", prompt=2, output=2))
            m.step()
        preempted = sum(len(m.step().plan.preempt) for _ in range(200))
        assert preempted <= 4

    def test_a_failed_step_may_send_rows_back_unplanned(self):
        m = machine()
        rows = fill(m, "ann", 3)
        m.scheduler.preempted(rows[:2])
        assert len(m.scheduler.waiting) == 2
        steps(m, lambda: len(m.scheduler.running) < 3)


class TestMemory:
    def test_rows_grow_until_the_youngest_of_the_heaviest_user_has_to_go(self):
        m = machine(memory=Memory(3000, lambda tokens: tokens, growth=64))
        fill(m, "heavy", 3, output=850)
        fill(m, "light", 1, output=850)
        gone = []
        while len(m.scheduler):
            gone += names(m.step().plan.preempt)
            assert m.scheduler.memory.used <= 3000
        assert gone[0] == "heavy-2"
        assert len(gone) <= 4

    def test_a_lone_request_may_use_it_all_and_is_ended_at_the_end_of_it(self):
        m = machine(memory=Memory(1000, lambda tokens: tokens))
        lone = request(1, prompt=900, output=5000)
        m.add(lone)
        ended = []
        while len(m.scheduler):
            ended += names(m.step().plan.full)
        assert ended == ["1"]
        assert lone.prompt - 1 + lone.launched == 1000

    def test_a_large_request_does_not_keep_small_ones_waiting_nor_they_it(self):
        m = machine(memory=Memory(4000, lambda tokens: tokens, growth=64))
        fill(m, "ann", 8, output=300)
        large = request("large", "bob", prompt=3500, output=5)
        m.add(large)
        for n in range(400):
            m.add(request(n, f"user-{n % 5}", prompt=65, output=100, received=m.now))
        first = steps(m, lambda: not any(job.id.isdigit() for job in m.scheduler.running))
        assert first < 50
        steps(m, lambda: large.ended is None, limit=3000)
        assert len(m.scheduler.waiting) > 50, "long before all the small ones"

    def test_no_row_goes_for_a_newcomer_of_the_same_user(self):
        m = machine(memory=Memory(2000, lambda tokens: tokens, growth=64))
        fill(m, "ann", 5, output=200)
        m.add(request("large", "ann", prompt=1500))
        while "large" in names(m.scheduler.waiting):
            assert m.step().plan.preempt == []


class TestMixedSteps:
    """Prompts that prefill in the steps of rows that decode."""

    def test_a_prompt_joins_the_step_after_its_last_chunk(self):
        m = machine(mixed=True)
        fill(m, "ann", 1)
        m.add(request("bob", "bob", prompt=65))
        first, second = m.step(), m.step()
        assert [(job.id, tokens) for job, tokens in first.plan.prefill] == [("bob", 64)]
        assert [(job.id, tokens) for job, tokens in second.plan.prefill] == [("bob", 0)]
        assert first.decoded == second.decoded == 1
        assert m.step().decoded == 2

    @pytest.mark.parametrize("attention", [0.0, 0.3 / 4000 / 10_000, 1.5 / 4000 / 10_000])
    def test_no_step_is_longer_than_the_bound(self, attention):
        m = Machine(costs=Costs(prefill_attention=attention), max_stall=0.1, mixed=True)
        fill(m, "ann", 4)
        m.add(request("long", "bob", prompt=16_000))
        longest, taken = 0.0, 0
        while "long" not in names(m.scheduler.running):
            longest = max(longest, m.step().seconds)
            taken += 1
        assert longest < 0.105
        assert m.now / taken > 0.06, "and the time that is allowed is used"

    def test_who_is_about_to_join_takes_no_newcomers_place_among_those_that_prefill(self):
        m = machine(mixed=True, prefill_batch_size=1)
        m.add(request("ann"))
        m.add(request("bob", "bob"))
        assert names(m.step().plan.admit) == ["ann"]
        assert names(m.step().plan.admit) == ["bob"]


class TestTheOnlyRequest:
    """Of a user, beside another's many: no step that brings its first token is longer for these."""

    def test_prompts_of_a_user_with_many_wait_for_its_first_token(self):
        m = machine(mixed=True, max_rows=8)
        fill(m, "ann", 3)
        m.add(request("bob", "bob", prompt=65))
        for n in range(3):
            m.add(request(f"more {n}", "ann", prompt=200))
        plans = [{job.id: tokens for job, tokens in m.step().plan.prefill} for _ in range(3)]
        assert plans[:2] == [{"bob": 64}, {"bob": 0}]
        assert set(plans[2]) <= {"more 0", "more 1", "more 2"} and plans[2]

    def test_users_with_one_request_each_share_the_step(self):
        m = machine(mixed=True)
        for user in ("ann", "dan"):  # what a prompt costs beside a row is known then
            fill(m, user, 1)
        m.add(request("bob", "bob", prompt=65))
        m.add(request("cyd", "cyd", prompt=65))
        assert set(names(job for job, _ in m.step().plan.prefill)) == {"bob", "cyd"}

    def test_a_short_one_does_not_wait_for_the_rows(self):
        m = machine(mixed=True)
        fill(m, "ann", 16)
        m.add(request("bob", "bob", prompt=11))
        m.add(request("more", "ann", prompt=11))
        step = m.step()
        assert names(step.plan.ahead) == ["bob"]
        assert step.seconds < 1.5 * m.step().seconds

    def test_no_step_begins_later_than_half_of_it(self):
        m = machine(mixed=True)
        fill(m, "ann", 16)
        for n in range(4):
            m.add(request(n, f"user {n}", prompt=11))
        assert len(m.step().plan.ahead) == 1

    @pytest.mark.parametrize("prompt, options", [(65, {}), (11, {"max_stall": 0.016})])
    def test_where_that_would_hold_up_the_rows_it_is_computed_beside_them(self, prompt, options):
        m = machine(mixed=True, **options)
        fill(m, "ann", 16)
        m.add(request("bob", "bob", prompt=prompt))
        step = m.step()
        assert [job.id for job, _ in step.plan.prefill] == ["bob"] and not step.plan.ahead

    def test_without_mixed_steps_it_is_computed_by_itself_anyway(self):
        m = machine()
        fill(m, "ann", 16)
        m.add(request("bob", "bob", prompt=11))
        assert not m.step().plan.ahead


class TestGathering:
    """From an idle machine on, prompts that came together are prefilled before the first of them decodes."""

    def burst(self, max_gather, *prompts, mixed=True):
        m = machine(mixed=mixed, max_gather=max_gather, chunk=256)
        for n in range(3):  # the machine knows how fast it is
            m.add(request(f"before {n}", prompt=200 + 90 * n, output=1))
            steps(m, lambda: len(m.scheduler))
        burst = [request(n, f"user {n}", prompt=prompt, output=8) for n, prompt in enumerate(prompts)]
        for each in burst:
            m.add(each)
        began = m.now
        steps(m, lambda: len(m.scheduler))
        return burst, began

    def test_they_decode_together(self):
        burst, _ = self.burst(0.5, 129, 129, 129, 129, 129, 129)
        assert len({each.first_token for each in burst}) == 1

    def test_without_it_each_begins_at_once(self):
        burst, _ = self.burst(0.0, 129, 129, 129, 129, 129, 129)
        assert len({each.first_token for each in burst}) > 1

    def test_nobody_waits_for_a_prompt_that_takes_longer_than_the_time_there_is(self):
        (short, _), began = self.burst(0.5, 129, 10_000)
        assert short.first_token - began < 0.2

    def test_the_time_is_bounded(self):
        burst, began = self.burst(0.2, *[257] * 8)
        first = min(each.first_token for each in burst)
        assert 0.1 < first - began < 0.35
        assert max(each.first_token for each in burst) > first

    def test_one_alone_does_not_wait(self):
        (alone,), began = self.burst(0.5, 129)
        assert alone.first_token - began < 0.06

    def test_nobody_waits_for_a_prompt_that_waits_for_another(self):
        m = machine(mixed=True, max_gather=0.5)
        ann = request("ann", prompt=100)
        m.add(ann)
        m.step()
        m.scheduler.held = lambda job: True
        m.add(request("bob", "bob"))
        assert [(job.id, tokens) for job, tokens in m.step().plan.prefill] == [("ann", 0)]

    def test_while_rows_decode_nobody_waits(self):
        m = machine(mixed=True, max_gather=0.5)
        fill(m, "ann", 1)
        m.add(request("bob", "bob", prompt=65))
        m.add(request("cyd", "cyd", prompt=65))
        m.step()
        step = m.step()
        assert ("bob", 0) in [(job.id, tokens) for job, tokens in step.plan.prefill]
