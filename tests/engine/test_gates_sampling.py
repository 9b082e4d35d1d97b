"""Gate 3: a hot row beside a greedy row, and neither changes the other; a seed decides, not the company."""

import numpy as np
import pytest

from inference.engine.protocol import Sampling
from tests.support.engine_made import MATRIX, Engine
from tests.support.models_made import KINDS, loaded, trained, words

KIND = pytest.mark.parametrize("kind", KINDS, ids=str)
WAYS = {
    "greedy": Sampling(),
    "hot": Sampling(temperature=1.0, seed=7),
    "hot again": Sampling(temperature=1.0, seed=7),
    "another seed": Sampling(temperature=1.0, seed=8),
    "truncated": Sampling(temperature=1.3, top_p=0.9, top_k=40, min_p=0.01, seed=9),
    "penalised": Sampling(temperature=0.7, repetition_penalty=1.3, presence_penalty=0.5, frequency_penalty=0.2, seed=3),
    "biased": Sampling(logit_bias={5: -100.0, 6: 3.0}),
}
ROUNDED = 1e-3
"""Deviations. In bfloat16 the best two logits are equal every few tokens, and any rounding decides between them: with
this tolerance and above, only logits are compared."""


@KIND
def test_gates_3_neither_hot_nor_greedy_rows_change_the_other(request, kind):
    model = loaded(kind)
    prompt = words(1, 60, model)
    with MATRIX.cell(request, kind, "3 hot") as cell:
        alone = {}
        for name, sampling in WAYS.items():
            with Engine(model, disable_prefix_cache=True) as engine:
                (id,) = engine.ask(prompt, sampling=sampling, max_tokens=12)
                alone[name] = engine.said(id)
        # The same prompt for all, and another for the neighbours of the second half.
        with Engine(model) as engine:
            together = {name: engine.submit(prompt, sampling=way, max_tokens=12) for name, way in WAYS.items()}
            other = [
                engine.submit(words(n, 30 * n, model), sampling=way, max_tokens=12)
                for n, way in enumerate(WAYS.values(), 2)
            ]
            engine.finish()
            cell.within(engine.worst([*together.values(), *other]), kind.tolerance)
        if kind.tolerance > ROUNDED:
            return
        assert {name: engine.said(id) for name, id in together.items()} == alone
        assert alone["hot"] == alone["hot again"] != alone["another seed"]
        assert len({tuple(said) for said in alone.values()}) >= len(WAYS) - 2, "the ways must differ to mean anything"


@pytest.mark.parametrize("bits", [None, 8], ids=["atelier-tiny", "atelier-tiny 8-bit"])
def test_gates_3_equal_seeds_give_equal_text(request, bits):
    """Alone, in a batch, and after a preemption, by the trained model."""
    model = trained(bits)
    messages = [{"role": "user", "content": "Tell me a story."}]
    prompt = list(model.tokenizer.apply_chat_template(messages, add_generation_prompt=True, enable_thinking=False))
    with MATRIX.cell(request, model.name, "3 hot"):
        with Engine(model, disable_prefix_cache=True) as engine:
            alone = [engine.text(*engine.ask(prompt, sampling=way, max_tokens=30)) for way in WAYS.values()]
        with Engine(model) as engine:
            ids = [engine.submit(prompt, sampling=sampling, max_tokens=30) for sampling in WAYS.values()]
            engine.finish()
            assert [engine.text(id) for id in ids] == alone
        with Engine(model, max_num_seqs=2) as engine:
            ids = [engine.submit(prompt, sampling=way, max_tokens=30, user="one") for way in WAYS.values()]
            engine.until(lambda: engine.said(ids[1]))
            engine.ask(words(1, 20, model), user="another", max_tokens=3)
            assert engine.core.books.preemptions
            assert [engine.text(id) for id in ids] == alone
        assert len(set(alone)) >= len(WAYS) - 2


def test_gates_3_draws_follow_the_distribution(request):
    """Of 600 draws from one context by 600 seeds, in a batch, each of the likeliest tokens comes as often as its
    probability says."""
    model = loaded(KINDS[0])
    prompt = words(1, 40, model)
    with MATRIX.cell(request, KINDS[0], "3 hot"), Engine(model) as engine:
        hot = [Sampling(temperature=0.5, seed=seed) for seed in range(600)]
        ids = [engine.submit(prompt, sampling=sampling, max_tokens=1) for sampling in hot]
        engine.finish()
        _, logits = next(engine.logits(ids[0]))
        chances = np.exp((logits - logits.max()) / 0.5)
        chances /= chances.sum()
        drawn = np.bincount([engine.said(id)[0] for id in ids if engine.said(id)], minlength=len(chances))
        for token in np.argsort(chances)[-5:]:
            spread = np.sqrt(chances[token] * (1 - chances[token]) / len(ids))
            assert abs(drawn[token] / len(ids) - chances[token]) < 4 * spread
