"""Whatever the method, the same token is drawn: candidates, full sort, bisection, and the definition in Python."""

import mlx.core as mx
import numpy as np
import pytest

from inference.engine.protocol import Sampling
from inference.engine.sampling import groups
from inference.engine.sampling.bisection import draw_by_bisection
from inference.engine.sampling.draw import ONE, SCALE, draw_by_id, fraction, inverse_temperature, share, uniforms
from inference.engine.sampling.ranking import ids_of, levels, likeliest, logits_of, ordered, ranks
from inference.engine.sampling.truncation import Chance, Settings, draw_in_order

ROWS = 12


def logits_of_kind(kind, vocab, seed=0, rows=ROWS):
    normal = mx.random.normal((rows, vocab), key=mx.random.key(seed))
    return {
        "random": normal * 3,
        "peaked": normal * 12,
        "flat": normal * 0.01,
        "constant": mx.zeros((rows, vocab)),
        "ties": (normal * 3).astype(mx.bfloat16).astype(mx.float32),
        "coarse ties": mx.round(normal),
        "half banned": mx.where(normal > 0, normal, -mx.inf),
    }[kind]


KINDS = ["random", "peaked", "flat", "constant", "ties", "coarse ties", "half banned"]
SETTINGS = {
    "top-p": dict(top_p=0.95),
    "small top-p": dict(top_p=0.3),
    "tiny top-p": dict(top_p=1e-9),
    "top-k": dict(top_k=40),
    "top-k 256": dict(top_k=256),
    "top-k, top-p": dict(top_k=100, top_p=0.8),
    "long top-k": dict(top_k=700, top_p=0.99),
    "top-p, min-p": dict(top_p=0.95, min_p=0.05),
    "top-p, XTC": dict(top_p=0.95, xtc_probability=0.5, xtc_threshold=0.05),
    "all": dict(top_k=200, top_p=0.9, min_p=0.01, xtc_probability=0.5, xtc_threshold=0.02),
}


def chance_of(settings, vocab, rows=ROWS, protected=(), temperature=0.8):
    shield = mx.zeros((vocab,), mx.bool_)
    if protected:
        shield[mx.array(protected)] = True
    sampling = Sampling(temperature=temperature, **settings)
    return Chance(Settings([sampling] * rows, vocab), uniforms(list(range(rows)), [7] * rows), shield)


def by_definition(logits, chance):
    """One row and one token at a time, with the sampler's weights but Python's integers and sort."""
    drawn = []
    both, shield = np.array(chance.uniforms), np.array(chance.protected)
    for row, s, (uniform, coin) in zip(np.array(logits), chance.settings.rows, both, strict=True):
        scaled = (mx.array(row) - float(row.max())) * inverse_temperature(s.temperature)
        weight = [int(w) for w in np.array(mx.power(2.0, scaled)) * np.float32(ONE)]
        left = sorted(range(len(row)), key=lambda token: (-row[token], token))
        left = left[: s.top_k] if s.top_k else left
        need, running, nucleus = sum(weight[t] for t in left) * fraction(s.top_p) // SCALE, 0, []
        for token in left:
            if running >= need and nucleus:
                break
            nucleus.append(token)
            running += weight[token]
        kept = [t for i, t in enumerate(nucleus) if i == 0 or weight[t] >= fraction(s.min_p) * (ONE // SCALE)]
        if coin < np.float32(s.xtc_probability):
            mass = sum(weight[t] for t in kept)
            top = [t for t in kept if weight[t] > 0 and weight[t] >= mass * fraction(s.xtc_threshold) // SCALE]
            kept = [t for t in kept if t not in top[:-1] or shield[t]]
        target = sum(weight[t] for t in kept) * int(np.float64(uniform) * SCALE) // SCALE
        running = 0
        for token in kept:
            running += weight[token]
            if running > target:
                break
        drawn.append(token)
    return drawn


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_every_method_draws_the_token_of_the_definition(kind, settings):
    vocab = 1000
    logits = logits_of_kind(kind, vocab)
    for chance in (chance_of(settings, vocab), chance_of(settings, vocab, temperature=2.0, protected=(3, 5))):
        expected = by_definition(logits, chance)
        assert draw_in_order(ordered(logits), chance)[0][:, 0].tolist() == expected
        assert draw_by_bisection(logits, chance)[:, 0].tolist() == expected
        if settings.get("top_k", vocab) <= groups.CANDIDATES:
            assert groups.draw(groups.Way.SHORT, logits, chance)[0][:, 0].tolist() == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", [s for s in SETTINGS.values() if "top_k" not in s])
@pytest.mark.parametrize("vocab", [1000, 33_000])
def test_candidates_are_never_certain_of_a_wrong_token(kind, settings, vocab):
    logits = logits_of_kind(kind, vocab, seed=3)
    chance = chance_of(settings, vocab)
    ids, certain = groups.draw_nucleus(logits, chance)
    whole = draw_in_order(ordered(logits), chance)[0]
    assert mx.all((ids == whole) | ~certain).item()
    assert mx.array_equal(draw_by_bisection(logits, chance), whole)


def test_candidates_are_mostly_certain_of_a_nucleus_that_goes_on_after_them():
    """The draw that lands after them is in doubt, and the one so close to a token's edge that the last token's weight
    could push it over."""
    vocab, rows = 8192, 2000
    natural = mx.broadcast_to(-1.3 * mx.log(mx.arange(1, vocab + 1).astype(mx.float32)), (rows, vocab))
    chance = chance_of(dict(top_p=0.9), vocab, rows=rows, temperature=1.0)
    _, certain = groups.draw_nucleus(natural, chance)
    weights = np.arange(1, vocab + 1.0) ** -1.3
    nucleus = weights[: int((weights.cumsum() < 0.9 * weights.sum()).sum()) + 1]
    assert len(nucleus) > groups.CANDIDATES
    nucleus /= nucleus.sum()
    after = nucleus[groups.CANDIDATES :].sum()
    edges = nucleus.cumsum()[: groups.CANDIDATES].sum() * nucleus[groups.CANDIDATES - 1]
    assert certain.sum().item() / rows == pytest.approx(1 - after - edges, abs=0.02)


@pytest.mark.parametrize("vocab", [5, 300, 20_000, 50_257])
@pytest.mark.parametrize("kind", ["random", "ties", "constant", "half banned"])
def test_the_likeliest_are_the_first_of_the_sorted(kind, vocab):
    logits = logits_of_kind(kind, vocab, rows=3)
    for k in (1, 5, min(256, vocab)):
        assert mx.array_equal(likeliest(logits, k), ordered(logits)[:, :k])


def test_ranks_keep_ids_and_logits():
    logits = mx.array([[-mx.inf, -1.5, -0.0, 0.0, 1e-40, 2.5, mx.inf]])
    ordered_ranks = mx.sort(ranks(logits, mx.arange(7)), axis=-1)
    assert ids_of(ordered_ranks)[0].tolist() in ([6, 5, 4, 2, 3, 1, 0], [6, 5, 2, 3, 4, 1, 0])  # flushed subnormals
    assert logits_of(ordered_ranks)[0].tolist()[-2:] == [-1.5, -float("inf")]
    assert levels(mx.array([-0.0])).item() == levels(mx.array([0.0])).item()


def test_shares_are_exact():
    for mass in (0, 1, 2**32 + 1, 2**41 - 7, 123_456_789_012_345_678, 2**61 - 1):
        for part in (0, 1, 2**31, 4_080_218_931, SCALE - 1, SCALE):
            assert share(mx.array([[mass]], mx.int64), mx.array([[part]], mx.int64)).item() == mass * part // SCALE


@pytest.mark.parametrize("vocab", [1, 100, 128, 129, 5000])
def test_a_draw_by_id_is_the_inverse_of_the_running_sum(vocab):
    weights = mx.random.randint(0, 2**31, (ROWS, vocab), key=mx.random.key(1)).astype(mx.int64)
    weights = mx.where(mx.random.uniform(shape=weights.shape, key=mx.random.key(2)) < 0.5, weights, 0)
    weights[:, 0] = mx.maximum(weights[:, 0], 1)
    uniform = mx.random.uniform(shape=(ROWS, 1), key=mx.random.key(3))
    drawn = draw_by_id(weights, uniform)[:, 0].tolist()
    for row, part, token in zip(weights.tolist(), uniform[:, 0].tolist(), drawn, strict=True):
        target = sum(row) * int(part * SCALE) // SCALE
        assert sum(row[:token]) <= target < sum(row[: token + 1])


def test_the_two_uniforms_of_a_row_are_its_own():
    together = uniforms([0, 5, 2**32 - 1], [0, 9, 2**31])
    alone = [uniforms([seed], [position]) for seed, position in ((0, 0), (5, 9), (2**32 - 1, 2**31))]
    assert mx.array_equal(together, mx.concatenate(alone))
    both = np.array(uniforms([1] * 4000, list(range(4000))))
    assert np.abs(np.corrcoef(both[:, 0], both[:, 1])[0, 1]) < 0.05
    assert np.abs(np.corrcoef(both[:-1, 0], both[1:, 0])[0, 1]) < 0.05
    assert both.mean() == pytest.approx(0.5, abs=0.02)
