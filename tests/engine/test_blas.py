"""How many threads the BLAS gets."""

import time

from inference.engine.blas import _best_of_each, choose_threads


def test_both_settings_are_tried_in_turns_and_the_fastest_step_of_each_is_told():
    tried = []
    seconds = {1: 0.001, 2: 0.01}
    best = _best_of_each(lambda: time.sleep(seconds[tried[-1]] if tried else 0), [1, 2], tried.append)
    assert tried[:4] == [1, 2, 1, 2]
    assert 0.001 <= best[0] < best[1] and best[1] >= 0.01


def test_the_operators_choice_is_left_alone(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    choose_threads(None)  # would fail if it tried the model
