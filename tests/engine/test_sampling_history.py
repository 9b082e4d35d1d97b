"""Penalties count what each row said, on the device, and rows come, go and come back."""

import mlx.core as mx
import numpy as np
import pytest

from inference.engine.sampling import History
from tests.engine.sampled import VOCAB, draw, logits_of, row


def two_favourites():
    return mx.zeros((1, VOCAB)).at[0, mx.array([7, 8])].add(mx.array([3.0, 2.0]))


def rounds(sampling, count, logits, prompt=(1,)):
    """`count` greedy draws, one after another, of a row with penalties."""
    history, sequence, said = History(VOCAB), row(prompt=prompt, **sampling), []
    for _ in range(count):
        said += draw([sequence], logits, history)
    return said


def test_presence_penalty_counts_once():
    assert rounds(dict(presence_penalty=1.5), 4, two_favourites()) == [7, 8, 7, 7]


def test_frequency_penalty_counts_every_time():
    assert rounds(dict(frequency_penalty=0.6), 4, two_favourites()) == [7, 7, 8, 7]


def test_openai_penalties_ignore_the_prompt_but_the_repetition_penalty_does_not():
    assert rounds(dict(presence_penalty=2.0), 1, two_favourites(), prompt=(7,)) == [7]
    assert rounds(dict(repetition_penalty=2.0), 1, two_favourites(), prompt=(7,)) == [8]


def test_the_repetition_penalty_makes_negative_logits_more_negative():
    logits = two_favourites() - 5
    logits[0, 9] = -1.0
    assert rounds(dict(repetition_penalty=10.0), 3, logits, prompt=(9,)) == [7, 8, 0]


def test_negative_penalties_encourage():
    assert rounds(dict(presence_penalty=-2.0), 5, two_favourites(), prompt=(8,)) == [7] * 5
    assert rounds(dict(repetition_penalty=0.5), 2, two_favourites(), prompt=(8,)) == [8, 8]


def test_a_penalised_row_leaves_its_neighbour_alone():
    logits, history = logits_of(2), History(VOCAB)
    penalised, plain = row("penalised", presence_penalty=2.0), row("plain")
    best = int(mx.argmax(logits[1]).item())
    for _ in range(5):
        assert draw([penalised, plain], logits, history)[1] == best


PENALTIES = [
    dict(),
    dict(presence_penalty=2.0),
    dict(frequency_penalty=-2.0),
    dict(repetition_penalty=1.3),
    dict(presence_penalty=-2.0, frequency_penalty=2.0, repetition_penalty=0.8, temperature=1.0),
]


def test_penalties_in_a_changing_batch_are_those_of_a_row_alone():
    """Rows with different penalties join and leave; what each says is what it says alone."""
    rng, steps = np.random.default_rng(0), 12
    logits = [logits_of(30, seed=i) for i in range(steps)]
    rows = [row(str(i), prompt=[i, i, VOCAB + 7], seed=i, **PENALTIES[i % 5]) for i in range(30)]
    alone = []
    for i, each in enumerate(rows):
        history, said = History(VOCAB), []
        for step in range(steps):
            each.launched = step
            said += draw([each], logits[step][i : i + 1], history)
        alone.append(said)
    history, said = History(VOCAB), [[] for _ in rows]
    for step in range(steps * 4):
        batch = [i for i in rng.permutation(30)[:9].tolist() if len(said[i]) < steps]
        if not batch:
            continue
        for i in batch:
            rows[i].launched = len(said[i])
        picked = mx.stack([logits[len(said[i])][i] for i in batch])
        for i, token in zip(batch, draw([rows[i] for i in batch], picked, history), strict=True):
            said[i].append(token)
            if step % 7 == i % 7:  # preempted: it resumes from what it has said
                rows[i].output = list(said[i])
                history.forget(rows[i])
    assert sum(map(len, said)) > 150
    assert all(got == expected[: len(got)] for got, expected in zip(said, alone, strict=True))


def test_a_resumed_row_goes_on_as_if_it_had_not_left():
    whole = rounds(dict(frequency_penalty=0.6), 8, two_favourites())
    history, sequence = History(VOCAB), row(frequency_penalty=0.6)
    sequence.output = whole[:5]
    assert [draw([sequence], two_favourites(), history)[0] for _ in range(3)] == whole[5:]


def test_rows_that_leave_are_forgotten():
    history, sequence = History(VOCAB), row(presence_penalty=1.0)
    draw([sequence], two_favourites(), history)
    assert sum(array.size for array in history.arrays()) > 0
    history.forget(sequence)
    history.forget(sequence)
    assert history.arrays() == []
    assert draw([sequence], two_favourites(), history) == [7]


def test_a_line_is_used_again_and_begins_anew():
    history = History(VOCAB)
    for i in range(100):
        stays, goes = row("stays", presence_penalty=0.5), row(str(i), presence_penalty=1.5)
        assert draw([stays, goes], mx.broadcast_to(two_favourites(), (2, VOCAB)), history)[1] == 7
        history.forget(goes)
    assert all(array.shape[0] <= 4 for array in history.arrays())


def test_the_graph_does_not_grow_with_the_answer():
    """Counts are evaluated with each step, so an array of an answer's hundredth step still hangs on nothing."""
    history, sequence = History(VOCAB), row(presence_penalty=1.0)
    for _ in range(100):
        draw([sequence], two_favourites(), history)
        mx.eval(history.arrays())
    assert history.arrays()[0].sum().item() == 100


@pytest.mark.parametrize("prompt", [[], [VOCAB], [-1, 7, 10**9]])
def test_prompt_tokens_without_a_logit_are_left_out(prompt):
    sequence = row(prompt=prompt, repetition_penalty=2.0)
    assert draw([sequence], two_favourites()) == [8 if 7 in prompt else 7]
