"""Attention without a kernel of MLX's, against MLX's own."""

from collections.abc import Iterator

import mlx.core as mx
import pytest

from inference.engine.kv import unfused


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    unfused.forget()
    yield
    unfused.forget()


def made(rows: int, heads: int, kv_heads: int, count: int, length: int) -> tuple[mx.array, mx.array, mx.array]:
    """Queries, keys, values; keys and values as views of larger arrays, as slots are."""
    keys = [mx.random.key(seed) for seed in range(3)]
    queries = mx.random.normal((rows, heads, count, 32), key=keys[0]) * 4
    whole = [mx.random.normal((rows, kv_heads, length + 9, width), key=key)
             for key, width in zip(keys[1:], (32, 48), strict=True)]  # fmt: skip
    return queries, whole[0][:, :, :length], whole[1][:, :, :length]


def window(rows: int, length: int) -> mx.array:
    last = mx.arange(length - rows, length)[:, None, None, None]
    cells = mx.arange(length)[None, None, None]
    return (cells <= last) & (cells > last - 50)


@pytest.mark.parametrize("heads, kv_heads", [(4, 4), (6, 2), (8, 1)])
@pytest.mark.parametrize(
    "count, mask",
    [
        (1, None),
        (1, "causal"),
        (70, "causal"),
        (1, window(3, 120)),
        (70, mx.arange(120)[None] <= mx.arange(50, 120)[:, None]),
        (70, mx.where(mx.arange(120)[None] <= mx.arange(50, 120)[:, None], -0.3, -1e9)),
        (70, mx.broadcast_to(window(3, 120), (3, 1, 70, 120))),
    ],
    ids=["one", "one causal", "causal", "by row", "two axes", "added", "four axes"],
)
def test_it_is_mlx_own_within_rounding(heads: int, kv_heads: int, count: int, mask: unfused.Mask):
    queries, keys, values = made(3, heads, kv_heads, count, 120)
    mine = unfused.attention(queries, keys, values, 0.2, mask)
    theirs = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=0.2, mask=mask)
    assert mine.shape == theirs.shape
    assert mx.abs(mine - theirs).max().item() < 2e-5


def test_scores_far_apart_neither_overflow_nor_vanish():
    queries, keys, values = made(1, 2, 2, 1, 600)
    mine = unfused.attention(queries * 1e4, keys, values, 1.0, None)
    theirs = mx.fast.scaled_dot_product_attention(queries * 1e4, keys, values, scale=1.0)
    assert mx.isfinite(mine).all()
    assert mx.abs(mine - theirs).max().item() < 1e-3


def test_softmax():
    scores = mx.random.normal((5, 300), key=mx.random.key(1)) * 10
    assert mx.abs(unfused.softmax(scores) - mx.softmax(scores, axis=-1)).max().item() < 1e-6


def test_what_it_leaves_to_mlx():
    queries, keys, _ = made(3, 4, 2, 1, 120)
    assert unfused.suits(queries, keys, None)
    assert not unfused.suits(queries.astype(mx.bfloat16), keys.astype(mx.bfloat16), None)
    assert not unfused.suits(queries[:1], keys[:1], None), "a handful of scores"
    assert not unfused.suits(queries, keys, mx.ones((3, 4, 1, 120), mx.bool_)), "a mask for each head"


def test_masks_are_remembered_by_what_they_are():
    """An id may be given away once its array is gone."""
    queries, keys, values = made(2, 4, 4, 1, 300)
    for seen in (300, 7, 111, 50, 222, 13):
        mask = mx.arange(300)[None, None, None] < mx.array([seen, 1])[:, None, None, None]
        mine = unfused.attention(queries, keys, values, 0.2, mask)
        theirs = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=0.2, mask=mask)
        assert mx.abs(mine - theirs).max().item() < 2e-5
        del mask
    assert len(unfused._biases) == unfused.REMEMBERED
