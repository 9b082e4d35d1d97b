"""Prompts that share a step with rows that decode, go ahead of it, or wait for each other."""

import pytest

from tests.engine.scheduled import fill, machine, names, request, steps


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
