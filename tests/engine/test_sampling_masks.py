"""A grammar's bitmask forbids tokens of its row before anything is drawn."""

import mlx.core as mx
import numpy as np
import pytest

from inference.engine.sampling import History, Sampler
from tests.engine.sampled import logits_of, row


class Allowed:
    """Each row's allowed tokens, packed as llguidance packs them."""

    def __init__(self, vocab, **allowed):
        self.packed = {}
        for name, tokens in allowed.items():
            words = np.zeros(-(-vocab // 32), np.uint32)
            for token in tokens:
                words[token // 32] |= np.uint32(1) << np.uint32(token % 32)
            self.packed[name] = words.view(np.int32)

    def bits(self, rows):
        held = [(place, self.packed[row.id]) for place, row in enumerate(rows) if row and row.id in self.packed]
        return ([place for place, _ in held], np.stack([words for _, words in held])) if held else None


def draw(rows, logits, masks):
    vocab = logits.shape[-1]
    drawn = Sampler(rows, vocab, masks=masks)(logits, History(vocab))
    drawn.settle()
    return drawn


@pytest.mark.parametrize("vocab", [31, 32, 33, 100])
@pytest.mark.parametrize("sampling", [dict(), dict(temperature=1.5), dict(temperature=1.5, top_p=0.9)])
def test_only_allowed_tokens_are_drawn(vocab, sampling):
    rows = [row(str(i), seed=i, **sampling) for i in range(200)]
    logits = mx.broadcast_to(logits_of(1, vocab=vocab), (200, vocab))
    allowed = {0, 30, vocab - 1}
    masks = Allowed(vocab, **{str(i): allowed for i in range(100)})
    tokens = draw(rows, logits, masks).tokens.tolist()
    assert set(tokens[:100]) <= allowed
    free = draw(rows, logits, None).tokens.tolist()
    assert tokens[100:] == free[100:]


def test_every_bit_is_its_token():
    vocab = 70
    rows = [row(str(i)) for i in range(vocab)]
    masks = Allowed(vocab, **{str(i): {i} for i in range(vocab)})
    assert draw(rows, logits_of(vocab, vocab=vocab), masks).tokens.tolist() == list(range(vocab))


def test_logits_after_the_mask_are_forbidden_and_bits_after_the_logits_ignored():
    logits = logits_of(1, vocab=100).at[0, 80].add(100.0)
    assert draw([row("a")], logits, Allowed(64, a=range(64))).tokens.item() < 64
    assert draw([row("a")], logits, Allowed(320, a=range(320))).tokens.item() == 80


def test_a_forced_token_that_the_grammar_forbids_is_not_drawn():
    logits = logits_of(1, vocab=64)
    assert draw([row("a", logit_bias={5: 100.0})], logits, Allowed(64, a={1, 2})).tokens.item() in (1, 2)


def test_a_grammar_without_a_next_token_fails_its_row_alone():
    masks = Allowed(64, a=set())
    assert draw([row("a"), None, row("b")], logits_of(3, vocab=64), masks).finite.tolist() == [False, True, True]
