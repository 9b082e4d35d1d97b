"""Each row draws by its own settings, and what else is in the batch never enters its draw."""

import mlx.core as mx
import numpy as np
import pytest

from inference.engine.protocol import Sampling
from inference.engine.sampler import History, Sampler
from inference.engine.sequence import Sequence

VOCAB = 50


def row(name="row", prompt=(1,), position=0, **sampling):
    sequence = Sequence(name, b"", list(prompt), Sampling(**sampling), 10, None, None)
    sequence.launched = position
    return sequence


def logits_of(rows, seed=0):
    return mx.random.normal((rows, VOCAB), key=mx.random.key(seed)) * 3


def draw(rows, logits, history=None):
    return Sampler(rows, VOCAB)(logits, history or History(VOCAB)).tolist()


def many(count=4000, **sampling):
    """How often each token is drawn from the same logits, at `count` positions."""
    logits = logits_of(1)
    rows = [row(str(i), position=i, **sampling) for i in range(count)]
    drawn = draw(rows, mx.broadcast_to(logits, (count, VOCAB)))
    return np.bincount(drawn, minlength=VOCAB) / count, np.array(logits[0], dtype=np.float64)


def softmax(logits):
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def test_temperature_zero_is_the_argmax():
    logits = logits_of(3)
    assert draw([row(), row(), row()], logits) == mx.argmax(logits, -1).tolist()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_it_draws_from_the_distribution(temperature):
    seen, logits = many(temperature=temperature)
    expected = softmax(logits / temperature)
    assert np.abs(seen - expected).max() < 5 * np.sqrt(expected.max() / 4000)


def test_a_tiny_temperature_is_greedy_and_does_not_overflow():
    seen, logits = many(temperature=1e-6, count=50)
    assert seen[logits.argmax()] == 1


def test_top_k():
    seen, logits = many(temperature=2.0, top_k=3)
    assert set(np.nonzero(seen)[0]) == set(np.argsort(-logits)[:3])


def test_top_p_is_the_smallest_set_that_reaches_it():
    seen, logits = many(temperature=1.0, top_p=0.8)
    order = np.argsort(-logits)
    size = int((np.cumsum(softmax(logits)[order]) < 0.8).sum()) + 1
    assert set(np.nonzero(seen)[0]) == set(order[:size])


def test_min_p():
    seen, logits = many(temperature=1.0, min_p=0.1)
    probabilities = softmax(logits)
    assert set(np.nonzero(seen)[0]) == set(np.nonzero(probabilities >= 0.1 * probabilities.max())[0])


def test_top_p_counts_what_top_k_left():
    seen, logits = many(temperature=1.0, top_k=4, top_p=0.9)
    best = np.argsort(-logits)[:4]
    left = softmax(logits)[best] / softmax(logits)[best].sum()
    size = int((np.cumsum(left) < 0.9).sum()) + 1
    assert set(np.nonzero(seen)[0]) == set(best[:size])


def test_equal_seeds_draw_equally_alone_and_in_company():
    logits = logits_of(8)
    kinds = [
        dict(),
        dict(temperature=0.9),
        dict(temperature=0.9, top_p=0.95, top_k=20),
        dict(temperature=2, min_p=0.01),
    ]
    company = [row(str(i), position=i, seed=i, **kinds[i % 4]) for i in range(8)]
    together = draw(company, logits)
    assert together == [draw([each], logits[i : i + 1])[0] for i, each in enumerate(company)]


def test_seeds_and_positions_matter():
    logits = mx.zeros((64, VOCAB))
    assert len(set(draw([row(str(i), temperature=1, seed=i) for i in range(64)], logits))) > 10
    assert len(set(draw([row(str(i), temperature=1, position=i) for i in range(64)], logits))) > 10


def test_a_hot_neighbour_changes_nothing_for_a_greedy_row_and_the_other_way_round():
    logits = logits_of(2)
    hot, greedy = row("hot", temperature=1.5, seed=3, top_p=0.5), row("greedy")
    assert draw([hot, greedy], logits) == [draw([hot], logits[:1])[0], draw([greedy], logits[1:])[0]]


def test_logit_bias_belongs_to_its_row():
    logits = logits_of(2)
    favoured = (int(mx.argmax(logits[0]).item()) + 1) % VOCAB
    tokens = draw([row("biased", logit_bias={favoured: 100.0}), row("plain")], logits)
    assert tokens == [favoured, int(mx.argmax(logits[1]).item())]


def test_a_ban_by_bias():
    logits = logits_of(1)
    best = int(mx.argmax(logits).item())
    assert draw([row(logit_bias={best: -100.0})], logits)[0] != best


def rounds(sampling, count, logits, prompt=(1,)):
    """`count` greedy draws, one after another, of a row with penalties."""
    history, sequence, said = History(VOCAB), row(prompt=prompt, **sampling), []
    for _ in range(count):
        said += draw([sequence], logits, history)
    return said


def test_presence_penalty_counts_once():
    logits = mx.zeros((1, VOCAB)).at[0, mx.array([7, 8])].add(mx.array([3.0, 2.0]))
    assert rounds(dict(presence_penalty=1.5), 4, logits) == [7, 8, 7, 7]


def test_frequency_penalty_counts_every_time():
    logits = mx.zeros((1, VOCAB)).at[0, mx.array([7, 8])].add(mx.array([3.0, 2.0]))
    assert rounds(dict(frequency_penalty=0.6), 4, logits) == [7, 7, 8, 7]


def test_openai_penalties_ignore_the_prompt_but_the_repetition_penalty_does_not():
    logits = mx.zeros((1, VOCAB)).at[0, mx.array([7, 8])].add(mx.array([3.0, 2.0]))
    assert rounds(dict(presence_penalty=2.0), 1, logits, prompt=(7,)) == [7]
    assert rounds(dict(repetition_penalty=2.0), 1, logits, prompt=(7,)) == [8]


def test_a_penalised_row_leaves_its_neighbour_alone():
    logits, history = logits_of(2), History(VOCAB)
    penalised, plain = row("penalised", presence_penalty=2.0), row("plain")
    best = int(mx.argmax(logits[1]).item())
    for _ in range(5):
        assert draw([penalised, plain], logits, history)[1] == best


def test_rows_that_leave_are_forgotten():
    history, sequence = History(VOCAB), row(presence_penalty=1.0)
    draw([sequence], logits_of(1), history)
    assert len(history.arrays()) == 1
    history.forget(sequence)
    assert history.arrays() == []
