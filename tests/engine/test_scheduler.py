"""The plan of each step, on records without a model."""

import pytest

from inference.engine.protocol import Sampling
from inference.engine.scheduler import GRID, QueueFull, Scheduler
from inference.engine.sequence import Sequence


def request(tokens):
    return Sequence(str(tokens), b"", [1] * tokens, Sampling(), 10, None, None)


def carry_out(scheduler, plan):
    """What the batch would do with a plan."""
    for sequence, tokens in plan.prefill:
        sequence.prefilled += tokens
    scheduler.start([sequence for sequence, _ in plan.prefill if sequence.to_prefill == 0])


def test_a_short_prompt_is_prefilled_whole_but_for_its_last_token():
    scheduler = Scheduler()
    scheduler.add(request(10))
    plan = scheduler.plan()
    assert [tokens for _, tokens in plan.prefill] == [9]
    assert not plan.decode
    carry_out(scheduler, plan)
    assert scheduler.plan().decode


def test_one_token_has_nothing_to_prefill_and_joins():
    scheduler = Scheduler()
    scheduler.add(request(1))
    plan = scheduler.plan()
    assert [tokens for _, tokens in plan.prefill] == [0]


def test_several_short_prompts_share_a_step():
    scheduler = Scheduler(chunk=100)
    for tokens in (31, 31, 61, 31):
        scheduler.add(request(tokens))
    assert [tokens for _, tokens in scheduler.plan().prefill] == [30, 30, 40]


def test_decoding_rows_wait_no_longer_than_the_stall_bound():
    scheduler = Scheduler(max_stall=0.1, chunk=2048)
    scheduler.add(request(2))
    carry_out(scheduler, scheduler.plan())
    scheduler.add(request(10_000))
    assert scheduler.plan().prefill[0][1] == GRID, "nothing is measured yet: the smallest step"
    scheduler.observe_prefill(1000, 1.0)
    assert scheduler.plan().prefill[0][1] == GRID, "100 tokens would fit into 0.1 s, 64 of them on the grid"
    for _ in range(60):
        scheduler.observe_prefill(1000, 0.1)
    assert 900 <= scheduler.plan().prefill[0][1] <= 1000


def test_a_slow_machine_still_gets_on():
    scheduler = Scheduler(max_stall=0.1)
    scheduler.observe_prefill(100, 60.0)
    scheduler.add(request(2))
    carry_out(scheduler, scheduler.plan())
    scheduler.add(request(500))
    steps = 0
    while len(scheduler.running) < 2:
        carry_out(scheduler, scheduler.plan())
        steps += 1
    assert steps == -(-499 // GRID)


def test_no_more_rows_than_allowed_and_first_come_first_served():
    scheduler = Scheduler(max_rows=2)
    requests = [request(5) for _ in range(4)]
    for each in requests:
        scheduler.add(each)
    carry_out(scheduler, scheduler.plan())
    assert scheduler.running == requests[:2]
    assert scheduler.plan().prefill == []
    scheduler.remove([requests[0]])
    carry_out(scheduler, scheduler.plan())
    assert scheduler.running == requests[1:3]


def test_the_queue_is_bounded():
    """Beyond the rows that are free anyway."""
    scheduler = Scheduler(max_rows=2, max_waiting=1)
    for _ in range(3):
        scheduler.add(request(5))
    with pytest.raises(QueueFull):
        scheduler.add(request(5))


def test_removed_ones_are_gone_wherever_they_were():
    scheduler = Scheduler(max_rows=2, chunk=4)
    requests = [request(3), request(50), request(5)]
    for each in requests:
        scheduler.add(each)
    carry_out(scheduler, scheduler.plan())
    assert (len(scheduler.running), len(scheduler.prefilling), len(scheduler.waiting)) == (1, 1, 1)
    scheduler.remove(requests)
    assert len(scheduler) == 0
