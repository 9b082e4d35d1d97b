"""Log-probabilities are the model's own, only for the rows that asked."""

import mlx.core as mx
import numpy as np
import pytest

from inference.engine.sampling import History, Sampler
from tests.engine.sampled import logits_of, row


def draw(rows, logits, history=None):
    vocab = logits.shape[-1]
    drawn = Sampler(rows, vocab)(logits, history or History(vocab))
    drawn.settle()
    mx.eval(drawn.arrays())
    return drawn


def log_softmax(logits):
    logits = np.array(logits, np.float64)
    return logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()


@pytest.mark.parametrize("vocab", [50, 30_001])
def test_chosen_and_likeliest(vocab):
    logits = logits_of(4, vocab=vocab)
    rows = [row("a", logprobs=5), row("b"), row("c", temperature=1.0, seed=2, logprobs=0), row("d", logprobs=20)]
    drawn = draw(rows, logits)
    records = drawn.logprobs.records()
    assert sorted(records) == [0, 2, 3]
    for place, count in ((0, 5), (2, 0), (3, 20)):
        expected = log_softmax(logits[place])
        assert records[place].chosen == pytest.approx(expected[drawn.tokens[place].item()], abs=1e-4)
        best = np.argsort(-expected, kind="stable")[:count]
        assert [token for token, _ in records[place].top] == best.tolist()
        assert [value for _, value in records[place].top] == pytest.approx(expected[best].tolist(), abs=1e-4)


def test_nobody_asked():
    assert draw([row(), None, row(temperature=1)], logits_of(3)).logprobs is None


def test_they_are_of_the_raw_logits():
    logits = logits_of(1)
    favoured = int(mx.argmin(logits).item())
    each = row(temperature=0.1, top_p=0.5, presence_penalty=2.0, logit_bias={favoured: 100}, logprobs=1)
    drawn = draw([each], logits)
    assert drawn.tokens.item() == favoured
    record = drawn.logprobs.records()[0]
    assert record.chosen == pytest.approx(log_softmax(logits[0])[favoured], abs=1e-4)
    assert record.top[0][0] == mx.argmax(logits).item()


def test_a_token_without_probability_has_a_number_too():
    logits = mx.full((1, 50), -mx.inf)
    logits[0, 3] = 1.0
    record = draw([row(logprobs=2)], logits).logprobs.records()[0]
    assert record.chosen == 0 and record.top == [(3, 0.0), (0, -9999.0)]


def test_more_than_the_vocabulary_and_more_than_twenty():
    assert len(draw([row(logprobs=20)], logits_of(1, vocab=7)).logprobs.records()[0].top) == 7
    assert len(draw([row(logprobs=99)], logits_of(1)).logprobs.records()[0].top) == 20


def test_a_draw_in_doubt_reports_the_token_that_is_drawn_in_the_end():
    vocab = 9000
    logits = mx.random.normal((16, vocab), key=mx.random.key(8))
    drawn = draw([row(str(i), seed=i, temperature=1, top_p=0.9, logprobs=0) for i in range(16)], logits)
    records = drawn.logprobs.records()
    for place, token in enumerate(drawn.tokens.tolist()):
        assert records[place].chosen == pytest.approx(log_softmax(logits[place])[token], abs=1e-4)
