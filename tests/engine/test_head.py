"""The last layer for some lanes only."""

import mlx.core as mx
import mlx.nn as nn
import pytest

from inference.engine.kv import head


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(64, 32)
        self.output = nn.Linear(32, 32)

    def __call__(self, tokens: mx.array) -> mx.array:
        return self.embed.as_linear(self.output(self.embed(tokens)))


class Untied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(64, 32)
        self.lm_head = nn.Linear(32, 64, bias=False)

    def __call__(self, tokens: mx.array) -> mx.array:
        return self.lm_head(self.embed(tokens))


@pytest.mark.parametrize("kind", [Tied, Untied])
@pytest.mark.parametrize("quantised", [False, True], ids=["plain", "quantised"])
def test_it_computes_those_asked_for_and_nothing_else_changes(kind: type[nn.Module], quantised: bool):
    model = kind()
    if quantised:
        nn.quantize(model, group_size=32, bits=8)
    tokens = mx.array([[3], [5], [8]], mx.int32)
    before, names = model(tokens), {name for name, _ in model.named_modules()}
    for _ in range(2):
        head.install(model)
    assert {name for name, _ in model.named_modules()} == names
    assert mx.array_equal(model(tokens), before)
    with head.lanes(2):
        assert model(tokens).shape == (2, 1, 64)
        assert mx.allclose(model(tokens), before[:2], atol=1e-5)
        with head.lanes(None):
            assert model(tokens).shape == (3, 1, 64)
    assert model(tokens).shape == (3, 1, 64)


@pytest.mark.parametrize("kind", [Tied, Untied])
def test_the_last_token_of_a_prompt(kind: type[nn.Module]):
    model = kind()
    head.install(model)
    tokens = mx.array([[3, 5, 8]], mx.int32)
    before = model(tokens)
    with head.last():
        assert model(tokens).shape == (1, 1, 64)
        assert mx.allclose(model(tokens), before[:, -1:], atol=1e-5)
    assert model(tokens).shape == (1, 3, 64)


def test_only_this_models_modules_change():
    head.install(Untied())
    other = Untied()
    with head.lanes(1):
        assert other(mx.array([[3], [5]], mx.int32)).shape == (2, 1, 64)


def test_an_error_within_leaves_nothing_behind():
    model = Untied()
    head.install(model)
    with pytest.raises(ValueError), head.lanes(1):
        raise ValueError
    assert model(mx.array([[3], [5]], mx.int32)).shape == (2, 1, 64)
