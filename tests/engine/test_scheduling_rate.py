"""What a step will take, learned from what steps took."""

import random

import pytest

from inference.engine.scheduling.rate import GRID, LEAST, Budget, Rates
from tests.benchmarks.machine import Costs


def learned(costs, chunks, noise=0.0):
    rates, dice = Rates(), random.Random(1)
    for tokens, context in chunks:
        rates.observe(0, [(tokens, context)], costs.prefill(tokens, context) * dice.gauss(1, noise))
    return rates


COSTS = Costs()
MIXED = [(tokens, context) for context in (0, 500, 2000, 6000) for tokens in (20, 64, 192, 448, 1024)] * 3


def test_the_learned_cost_is_the_machines():
    rates = learned(COSTS, MIXED)
    for tokens, context in [(64, 0), (300, 3000), (500, 8000), (1500, 0)]:
        assert rates.prefill(tokens, context) == pytest.approx(COSTS.prefill(tokens, context), rel=0.03)


@pytest.mark.parametrize("context", [0, 1000, 10_000, 14_000])
@pytest.mark.parametrize("seconds", [0.02, 0.08, 0.3])
def test_what_is_affordable_lasts_that_long(seconds, context):
    tokens = learned(COSTS, MIXED, noise=0.03).affordable(seconds, context)
    assert 0.85 * seconds < COSTS.prefill(tokens, context) < 1.1 * seconds


def test_a_long_prompt_never_overshoots_on_its_way():
    """Each chunk is measured before the next is planned; attention has the larger part of the cost at the end."""
    costs = Costs(prefill_attention=2 / 4000 / 10_000)
    rates, context, longest = Rates(), 0, 0.0
    while context < 20_000:
        tokens = max(GRID, rates.affordable(0.09, context) // GRID * GRID)
        seconds = costs.prefill(tokens, context)
        rates.observe(0, [(tokens, context)], seconds)
        longest = max(longest, seconds)
        context += tokens
    assert longest < 0.1


def test_one_chunk_size_says_nothing_about_larger_ones():
    """All measured alike: a larger chunk is thought to cost in proportion, not to be free."""
    rates = learned(COSTS, [(64, 0)] * 30)
    assert rates.prefill(64, 0) == pytest.approx(COSTS.prefill(64, 0), rel=0.02)
    assert rates.affordable(0.09, 0) <= 128
    assert rates.prefill(128, 0) > 1.5 * rates.prefill(64, 0)


def test_a_context_far_beyond_anything_measured_is_tried_small():
    rates = learned(COSTS, [(1024, 0)] * 10)
    assert rates.affordable(0.09, 10_000) == GRID


def test_one_outlier_changes_little():
    rates = learned(COSTS, MIXED)
    before = rates.affordable(0.09, 0)
    rates.observe(0, [(320, 0)], 5.0)
    assert rates.affordable(0.09, 0) > 0.6 * before


def test_a_machine_that_slows_down_is_noticed():
    rates = learned(COSTS, MIXED)
    before = rates.affordable(0.2, 0)
    for _ in range(12):
        rates.observe(0, [(320, 0)], 2 * COSTS.prefill(320, 0))
    assert rates.affordable(0.2, 0) < 0.62 * before


def test_decode_by_rows():
    rates = Rates()
    assert rates.decode(8) == 0.0
    for rows in (1, 4, 16, 30) * 5:
        rates.observe(rows, [], 0.01 + 0.001 * rows)
    assert rates.decode(8) == pytest.approx(0.018, rel=0.02)
    assert rates.decode(0) == 0.0


def test_nonsense_is_not_learned():
    rates = Rates()
    rates.observe(0, [(0, 0)], 1.0)
    rates.observe(0, [(64, 0)], 0.0)
    rates.observe(0, [], 1.0)
    assert rates.affordable(1.0, 0) == GRID


class TestBudget:
    def test_without_decoding_rows_it_is_a_number_of_tokens(self):
        budget = Budget(Rates(), 1024, None)
        assert budget.offer(5000, 0) == 1024
        assert budget.offer(700, 0) == 700
        budget.spend(700, 0)
        assert budget.offer(5000, 0) == 320
        assert budget.offer(30, 0) == 30
        budget.spend(300, 0)
        assert budget.offer(5000, 0) == 0

    def test_with_decoding_rows_it_is_time_on_the_grid(self):
        budget = Budget(learned(COSTS, MIXED), 2048, 0.09)
        tokens = budget.offer(5000, 0)
        assert tokens % GRID == 0
        assert 0.07 < COSTS.prefill(tokens, 0) < 0.09
        budget.spend(tokens, 0)
        assert budget.offer(5000, 0) == 0

    def test_each_of_several_short_prompts_costs_what_a_chunk_costs_at_least(self):
        costs = Costs(prefill_fixed=0.03)
        budget, granted = Budget(learned(costs, MIXED), 2048, 0.09), 0
        while budget.offer(10, 0) == 10:
            budget.spend(10, 0)
            granted += 1
        assert granted == 2

    @pytest.mark.parametrize("seconds", [0.001, -1.0])
    def test_something_always_progresses_but_only_one_thing(self, seconds):
        budget = Budget(learned(COSTS, MIXED), 2048, seconds)
        assert budget.offer(5000, 0) == GRID
        assert budget.offer(10, 0) == 10
        budget.spend(GRID, 0)
        assert budget.offer(10, 0) == 0

    def test_behind_a_long_context_it_is_less_than_a_grid_unit(self):
        costs = Costs(prefill_token=0.001, prefill_attention=1e-6)
        rates = learned(costs, MIXED)
        offers = {context: Budget(rates, 2048, 0.05, 0.2).offer(5000, context) for context in (0, 1500, 4500, 12_000)}
        assert offers == {0: GRID, 1500: GRID, 4500: GRID // 2, 12_000: LEAST}
        assert Budget(rates, 2048, 0.05).offer(5000, 12_000) == GRID, "where nothing bounds it"

    def test_nothing_is_measured_yet(self):
        budget = Budget(Rates(), 2048, 0.09)
        assert budget.offer(5000, 0) == GRID
        budget.spend(GRID, 0)
        assert budget.offer(5000, 0) == 0


def test_what_a_chunk_adds_to_a_step_of_rows_is_learned_by_itself():
    rates = Rates(mixed=True)
    for rows in (1, 4, 8) * 4:
        rates.observe(rows, [], 0.01 + 0.001 * rows)
    for tokens in (64, 128, 320) * 8:
        rates.observe(0, [(tokens, 0)], 0.01 + tokens / 1000)
        rates.observe(8, [(tokens // 2, 0), (tokens // 2, 0)], 0.018 + tokens / 2000)
    assert rates.prefill(320, 0) == pytest.approx(0.33, rel=0.03)
    assert rates.beside(320, 0) == pytest.approx(0.16, rel=0.03)
    assert rates.affordable(0.16, 0) == pytest.approx(320, rel=0.03)


def test_a_mixed_step_quicker_than_decoding_was_thought_to_be_is_no_free_prefill():
    rates = Rates(mixed=True)
    for _ in range(10):
        rates.observe(8, [], 0.1)
    for _ in range(10):
        rates.observe(8, [(64, 0)], 0.05)
    assert rates.beside(64, 0) > 0


def test_alone_and_beside_cost_the_same_where_steps_are_not_mixed():
    rates = Rates()
    rates.observe(0, [(64, 0)], 0.1)
    assert rates.prefill(64, 0) == rates.beside(64, 0) == rates.beside(64, 0, first=False)
