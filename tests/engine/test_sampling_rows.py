"""Each row draws by its own settings, and what else is in the batch never enters its draw."""

import mlx.core as mx
import numpy as np
import pytest

from inference.engine.sampling import History, Sampler, groups
from tests.engine.sampled import VOCAB, draw, logits_of, row

KINDS = [
    dict(),
    dict(temperature=0.9),
    dict(temperature=0.9, top_p=0.95, top_k=20),
    dict(temperature=2, min_p=0.01),
    dict(temperature=1.2, top_p=0.9),
    dict(temperature=1.2, top_k=400, top_p=0.9),
    dict(temperature=1, xtc_probability=0.5, xtc_threshold=0.05),
    dict(temperature=0.7, presence_penalty=1.0, repetition_penalty=1.3),
    dict(temperature=0.7, logit_bias={3: 5.0, 4: -100}),
    dict(temperature=1, top_p=0.9, logprobs=3),
]


def many(count=4000, logits=None, protected=(), **sampling):
    """How often each token is drawn from the same logits, at `count` positions."""
    logits = logits_of(1) if logits is None else logits
    rows = [row(str(i), position=i, **sampling) for i in range(count)]
    drawn = draw(rows, mx.broadcast_to(logits, (count, VOCAB)), protected=protected)
    return np.bincount(drawn, minlength=VOCAB) / count, np.array(logits[0], dtype=np.float64)


def softmax(logits):
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def assert_drawn_from(seen, expected):
    """Each frequency within five standard deviations; what has no probability is never drawn."""
    assert not seen[expected == 0].any()
    assert (np.abs(seen - expected) <= 5 * np.sqrt(expected * (1 - expected) / 4000) + 1e-3).all()


def renormalised(probabilities, kept):
    left = np.zeros_like(probabilities)
    left[kept] = probabilities[kept]
    return left / left.sum()


def test_temperature_zero_is_the_argmax():
    logits = logits_of(3)
    assert draw([row(), row(), row()], logits) == mx.argmax(logits, -1).tolist()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_it_draws_from_the_distribution(temperature):
    seen, logits = many(temperature=temperature)
    assert_drawn_from(seen, softmax(logits / temperature))


@pytest.mark.parametrize("temperature", [1e-6, 1e-45])
@pytest.mark.parametrize("more", [dict(), dict(top_p=0.9), dict(top_k=5)])
def test_a_tiny_temperature_is_greedy_and_does_not_overflow(temperature, more):
    seen, logits = many(temperature=temperature, count=50, **more)
    assert seen[logits.argmax()] == 1


def test_top_k():
    seen, logits = many(temperature=2.0, top_k=3)
    assert_drawn_from(seen, renormalised(softmax(logits / 2), np.argsort(-logits)[:3]))


def test_top_p_is_the_smallest_set_that_reaches_it():
    seen, logits = many(temperature=1.0, top_p=0.8)
    order = np.argsort(-logits)
    size = int((np.cumsum(softmax(logits)[order]) < 0.8).sum()) + 1
    assert_drawn_from(seen, renormalised(softmax(logits), order[:size]))


def test_min_p():
    seen, logits = many(temperature=1.0, min_p=0.1)
    probabilities = softmax(logits)
    assert_drawn_from(seen, renormalised(probabilities, probabilities >= 0.1 * probabilities.max()))


def test_top_p_counts_what_top_k_left():
    seen, logits = many(temperature=1.0, top_k=4, top_p=0.9)
    best = np.argsort(-logits)[:4]
    left = softmax(logits)[best] / softmax(logits)[best].sum()
    size = int((np.cumsum(left) < 0.9).sum()) + 1
    assert_drawn_from(seen, renormalised(softmax(logits), best[:size]))


@pytest.mark.parametrize("sampling", [dict(top_p=0.0), dict(top_p=1e-12), dict(top_k=1), dict(min_p=1.0)])
def test_limits_that_leave_one_token(sampling):
    seen, logits = many(temperature=2.0, count=50, **sampling)
    assert seen[logits.argmax()] == 1


@pytest.mark.parametrize("top_k", [0, VOCAB - 1, VOCAB, VOCAB + 1, 10**6])
def test_a_top_k_of_the_vocabulary_and_more(top_k):
    seen, logits = many(temperature=1.0, top_k=top_k)
    assert_drawn_from(
        seen, softmax(logits) if top_k != VOCAB - 1 else renormalised(softmax(logits), np.argsort(-logits)[:-1])
    )


@pytest.mark.parametrize("more", [dict(), dict(top_p=0.999999), dict(top_k=VOCAB)])
def test_xtc_leaves_only_the_least_of_the_top_choices(more):
    logits = mx.log(mx.array([[0.4, 0.3, 0.2, 0.06] + [0.04 / 46] * 46]))
    seen, _ = many(logits=logits, temperature=1.0, xtc_probability=1.0, xtc_threshold=0.1, **more)
    expected = np.exp(np.array(logits[0], np.float64))
    assert_drawn_from(seen, renormalised(expected, slice(2, None)))
    seen, _ = many(logits=logits, temperature=1.0, xtc_probability=0.25, xtc_threshold=0.1, **more)
    assert_drawn_from(seen, 0.75 * expected + 0.25 * renormalised(expected, slice(2, None)))


@pytest.mark.parametrize("more", [dict(), dict(top_k=VOCAB)])
def test_xtc_with_one_top_choice_changes_nothing_and_protected_tokens_stay(more):
    logits = mx.log(mx.array([[0.9, 0.05] + [0.05 / 48] * 48]))
    seen, _ = many(logits=logits, temperature=1.0, xtc_probability=1.0, xtc_threshold=0.1, **more)
    assert_drawn_from(seen, np.exp(np.array(logits[0], np.float64)))
    logits = mx.log(mx.array([[0.4, 0.3, 0.2, 0.06] + [0.04 / 46] * 46]))
    expected = np.exp(np.array(logits[0], np.float64))
    seen, _ = many(logits=logits, protected=(1, 10**6), temperature=1.0, xtc_probability=1.0, **more)
    assert_drawn_from(seen, renormalised(expected, np.r_[1:50]))


def test_the_coin_of_xtc_does_not_favour_a_draw():
    """With the draw's own uniform as the coin, rows under the coin would draw from one end of the distribution."""
    seen, _ = many(logits=mx.zeros((1, VOCAB)), temperature=1.0, xtc_probability=0.5, xtc_threshold=0.5)
    assert_drawn_from(seen, np.full(VOCAB, 1 / VOCAB))


@pytest.mark.parametrize("vocab", [VOCAB, 4099])
def test_equal_seeds_draw_equally_alone_and_in_company(vocab):
    logits = logits_of(40, vocab=vocab)
    company = [row(str(i), position=i, seed=i, **KINDS[i % len(KINDS)]) for i in range(40)]
    together = draw(company, logits)
    assert together == [draw([each], logits[i : i + 1])[0] for i, each in enumerate(company)]
    backwards = mx.array(list(range(39, -1, -1)))
    assert together == draw(company[::-1], logits[backwards])[::-1]


def test_seeds_and_positions_matter():
    logits = mx.zeros((64, VOCAB))
    assert len(set(draw([row(str(i), temperature=1, seed=i) for i in range(64)], logits))) > 10
    assert len(set(draw([row(str(i), temperature=1, position=i) for i in range(64)], logits))) > 10


def test_seeds_at_their_limits():
    logits = mx.zeros((4, VOCAB))
    rows = [row(str(i), temperature=1, seed=seed) for i, seed in enumerate((0, 2**32 - 1, 2**32, -1))]
    tokens = draw(rows, logits)
    assert tokens[0] == tokens[2] and tokens[1] == tokens[3] and tokens[0] != tokens[1]


def test_a_hot_neighbour_changes_nothing_for_a_greedy_row_and_the_other_way_round():
    logits = logits_of(2)
    hot, greedy = row("hot", temperature=1.5, seed=3, top_p=0.5), row("greedy")
    assert draw([hot, greedy], logits) == [draw([hot], logits[:1])[0], draw([greedy], logits[1:])[0]]


def test_dead_lanes_are_ignored():
    logits = logits_of(4)
    hot, greedy = row("hot", temperature=1.5, seed=3), row("greedy")
    logits[0] = mx.nan
    tokens = draw([None, hot, None, greedy], logits)
    assert [tokens[1], tokens[3]] == [draw([hot], logits[1:2])[0], draw([greedy], logits[3:])[0]]
    assert draw([None, None], logits[:2])[1] == mx.argmax(logits[1]).item()


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
@pytest.mark.parametrize("sampling", KINDS)
def test_half_precision_logits_are_drawn_as_float32(dtype, sampling):
    logits = logits_of(1).astype(dtype)
    each = row(seed=5, **sampling)
    assert draw([each], logits) == draw([each], logits.astype(mx.float32))


@pytest.mark.parametrize("sampling", KINDS)
@pytest.mark.parametrize("poison", [mx.nan, mx.inf, -mx.inf])
def test_a_row_without_a_distribution_fails_alone(sampling, poison):
    vocab = 4099
    logits = logits_of(6, vocab=vocab)
    rows = [row(str(i), seed=i, **sampling) for i in range(6)]
    healthy = draw(rows, logits)
    sick = mx.array(logits)
    sick[2] = poison
    sick[4, 17] = mx.nan
    sick[5, 11] = -mx.inf
    healthy[5] = draw([rows[5]], sick[5:])[0]
    drawn = Sampler(rows, vocab)(sick, History(vocab))
    assert drawn.settle() == [] or sampling.get("top_p", 1) < 1
    assert drawn.finite.tolist() == [True, True, False, True, False, True]
    tokens = drawn.tokens.tolist()
    assert [tokens[i] for i in (0, 1, 3, 5)] == [healthy[i] for i in (0, 1, 3, 5)]
    assert all(0 <= token < vocab for token in tokens)


def test_logit_bias_belongs_to_its_row():
    logits = logits_of(2)
    favoured = (int(mx.argmax(logits[0]).item()) + 1) % VOCAB
    tokens = draw([row("biased", logit_bias={favoured: 100.0}), row("plain")], logits)
    assert tokens == [favoured, int(mx.argmax(logits[1]).item())]


@pytest.mark.parametrize("ban", [-100.0, -1e30])
@pytest.mark.parametrize("scale", [1, 1000])
def test_a_ban_by_bias(ban, scale):
    seen, logits = many(logits=logits_of(1) * scale, count=200, temperature=2.0, logit_bias={1: ban, 2: ban})
    assert not seen[1:3].any()
    best = int(logits.argmax())
    assert draw([row(logit_bias={best: ban})], logits_of(1) * scale)[0] != best


@pytest.mark.parametrize("force", [100.0, 1e30])
def test_forced_tokens_leave_nothing_else_and_keep_their_odds(force):
    seen, logits = many(temperature=1.0, logit_bias={7: force, 8: force})
    assert_drawn_from(seen, renormalised(softmax(logits), [7, 8]))


def test_a_small_bias_is_an_addition():
    seen, logits = many(temperature=1.0, logit_bias={7: 2.0})
    logits[7] += 2
    assert_drawn_from(seen, softmax(logits))


def test_a_bias_outside_the_vocabulary_touches_nobody():
    logits = logits_of(3)
    tokens = draw([row("a", logit_bias={VOCAB + 3: 100.0, -1: 100.0}), row("b"), row("c")], logits)
    assert tokens == mx.argmax(logits, -1).tolist()


def test_every_token_banned_fails_the_row():
    drawn = Sampler([row(temperature=1, logit_bias=dict.fromkeys(range(VOCAB), -100)), row()], VOCAB)(
        logits_of(2), History(VOCAB)
    )
    assert drawn.finite.tolist() == [False, True]


# --- a draw in doubt -------------------------------------------------------------------------------------------------

WIDE = 9000


def doubtful(rows=16):
    """Rows of which some draw after the candidates: their sampler's draw, and what a full sort draws."""
    logits = mx.random.normal((rows, WIDE), key=mx.random.key(8))
    sequences = [row(str(i), seed=i, **(dict(temperature=1, top_p=0.9) if i % 4 else dict())) for i in range(rows)]
    return sequences, logits, Sampler(sequences, WIDE)


def sorted_draw(monkeypatch, sequences, logits):
    # The limit below which every draw is by a full sort, raised: the reference that the quick way is held to.
    monkeypatch.setattr(groups, "SORTED_VOCAB", WIDE)
    tokens = draw(sequences, logits)
    monkeypatch.undo()
    return tokens


@pytest.mark.skipif(groups.has_gpu(), reason="a GPU's method is never in doubt")
def test_settling_draws_what_a_full_sort_draws(monkeypatch):
    sequences, logits, sampler = doubtful()
    expected = sorted_draw(monkeypatch, sequences, logits)
    drawn = sampler(logits, History(WIDE))
    mx.eval(drawn.beginning())
    following = drawn.tokens * 2  # what is built before settling sees what settling found
    again = drawn.settle()
    assert again and not set(again) & {0, 4, 8, 12}
    assert [not exact for exact in drawn.exact.tolist()] == [i in again for i in range(16)]
    mx.eval(drawn.arrays())
    assert drawn.tokens.tolist() == expected
    assert following.tolist() == [token * 2 for token in expected]
    assert drawn.settle() == []


@pytest.mark.skipif(groups.has_gpu(), reason="a GPU's method is never in doubt")
def test_a_draw_in_doubt_is_not_evaluated_by_mistake():
    _, logits, sampler = doubtful()
    drawn = sampler(logits, History(WIDE))
    with pytest.raises(RuntimeError):
        drawn.arrays()
    drawn.settle()
    drawn.arrays()


@pytest.mark.parametrize("sampling", [s for s in KINDS if s.get("top_p", 1) == 1 or s.get("top_k")])
def test_only_a_nucleus_is_ever_in_doubt(sampling):
    drawn = Sampler([row(**sampling)], WIDE)(logits_of(1, vocab=WIDE), History(WIDE))
    assert drawn.exact is None
    mx.eval(drawn.arrays())
