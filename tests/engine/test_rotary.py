"""Rotary embeddings with remembered angles: equal to MLX's own, bit by bit."""

from collections.abc import Iterator

import mlx.core as mx
import pytest

from inference.engine.kv import rotary


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    rotary.forget()
    yield
    rotary.forget()


@pytest.mark.skipif(mx.default_device().type == mx.DeviceType.gpu, reason="GPUs have a kernel")
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float16], ids=str)
@pytest.mark.parametrize("shape", [(3, 4, 1, 32), (3, 2, 5, 64)], ids=["one token", "five tokens"])
@pytest.mark.parametrize("traditional", [False, True], ids=["halves", "neighbours"])
@pytest.mark.parametrize("dims", [16, 32])
@pytest.mark.parametrize("given", ["base", "freqs"])
@pytest.mark.parametrize("each_row", [True, False], ids=["rows", "int"])
def test_it_is_equal_to_mlx(
    dtype: mx.Dtype, shape: tuple[int, ...], traditional: bool, dims: int, given: str, each_row: bool
):
    x = mx.random.normal(shape, key=mx.random.key(1)).astype(dtype)
    offset: int | mx.array = mx.array([3, 1000, 77], mx.int32) if each_row else 4097
    if isinstance(offset, mx.array):
        rotary.fix(offset)
    freqs = mx.random.uniform(1, 100, (dims // 2,), key=mx.random.key(2)) if given == "freqs" else None
    base = None if freqs is not None else 1e6
    for _ in range(2):  # computed, then remembered
        mine = rotary.rotate(x, dims, traditional=traditional, base=base, scale=0.7, offset=offset, freqs=freqs)
        theirs = rotary._plain(x, dims, traditional=traditional, base=base, scale=0.7, offset=offset, freqs=freqs)
        assert mine.dtype == theirs.dtype
        assert mx.array_equal(mine, theirs)


def test_positions_that_nobody_has_fixed_are_never_remembered():
    """mlx-lm's own batch caches count in place: the same array has other numbers in the next step."""
    x = mx.random.normal((2, 4, 1, 32), key=mx.random.key(1))
    offset = mx.array([3, 4], mx.int32)
    for _ in range(2):
        mine = rotary.rotate(x, 32, traditional=False, base=1e4, scale=1.0, offset=offset)
        assert mx.array_equal(mine, rotary._plain(x, 32, traditional=False, base=1e4, scale=1.0, offset=offset))
        offset += 1


def test_only_the_last_tables_are_held():
    x = mx.ones((1, 1, 2, 8))
    for position in range(3 * rotary.REMEMBERED):
        rotary.rotate(x, 8, traditional=False, base=1e4, scale=1.0, offset=position)
    assert len(rotary._tables) == rotary.REMEMBERED
    rotary.fix(mx.array([0], mx.int32))
    assert not rotary._tables


def test_a_shape_that_is_not_a_models_is_left_to_mlx():
    x = mx.random.normal((2, 3, 16), key=mx.random.key(1))
    mine = rotary.rotate(x, 16, traditional=False, base=1e4, scale=1.0, offset=5)
    assert mx.array_equal(mine, rotary._plain(x, 16, traditional=False, base=1e4, scale=1.0, offset=5))
