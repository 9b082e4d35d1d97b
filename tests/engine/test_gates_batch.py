"""Gate 1: each row of a churning batch = the same request alone = mlx-lm's own generator."""

import random

import numpy as np
import pytest

from tests.support.engine_made import MATRIX, Engine
from tests.support.models_made import KINDS, alone, greedy, loaded, trained, words

KIND = pytest.mark.parametrize("kind", KINDS, ids=str)
LENGTHS = [1, 2, 31, 32, 33, 64, 97, 130, 255, 256, 257, 300, 513, 620]
"""Tokens of prompts: both sides of blocks and capacity classes."""
COMMON = 288
"""Tokens that every fourth prompt begins with: enough for rows to read them together."""
NOTHING_TO_SPEAK_OF = 1e-3
"""Deviations by which a token may be ahead and yet lose, where other kernels round otherwise."""


def churn(engine: Engine, requests: list[tuple[list[int], dict]]) -> list[str]:
    """Submits these one after the other while earlier ones run. Whatever the seed, some have left by the last one."""
    rng = random.Random(2)
    ids = []
    for prompt, request in requests:
        ids.append(engine.submit(prompt, **request))
        if rng.random() < 0.7:
            engine.tick()
    engine.finish()
    return ids


@KIND
def test_gates_1_a_churning_batch_is_each_row_alone(request, kind):
    """By logits, while everyone is made to say the same tokens: seeded random weights repeat themselves otherwise."""
    model = loaded(kind)
    common = words(0, COMMON, model)
    rng = random.Random(1)
    requests = []
    for number in range(32):
        length, count = rng.choice(LENGTHS), rng.choice([1, 6, 9, 20])
        if number in (4, 9):
            length, count = 120, 142  # outgrows the class of 256 after room for 128 tokens of answer
        prompt = [*common, *words(number, length % 97 + 1, model)] if number % 4 == 3 else words(number, length, model)
        requests.append((prompt, dict(say=words(100 + number, count, model))))
    with MATRIX.cell(request, kind, "1 batch") as cell, Engine(model) as engine:
        assert engine.core.batching == kind.batching
        ids = churn(engine, requests)
        assert [engine.said(id) for id in ids] == [asked["say"] for _, asked in requests]
        assert all(engine.output.ends[id] == ["length"] for id in ids)
        cell.within(engine.worst(ids), kind.tolerance)
        if kind.batching != "single":
            assert engine.most_rows >= 12 and 1024 in engine.classes, "no churn"
        if kind.batching == "batched":
            assert engine.classes >= {256, 512, 1024} and engine.moves, "no churn"
            assert engine.most_sharing > 1 or not engine.store.layout.plain
            layout = engine.store.layout
            assert engine.store.mixes == (not layout.rings and not layout.states)
            assert (engine.mixed_steps > 10) == engine.store.mixes


@KIND
def test_gates_1_a_request_alone_is_mlx_lms(request, kind):
    model = loaded(kind)
    with MATRIX.cell(request, kind, "1 alone") as cell, Engine(model, disable_prefix_cache=True) as engine:
        for number, length in enumerate((1, 33, 257, 600)):
            ids = engine.ask(words(number, length, model), say=words(200 + number, 6, model))
            cell.within(engine.worst(ids), kind.tolerance)


@KIND
def test_gates_would_notice_another_context(kind):
    """What the tolerances are worth: a prompt with another beginning gives other logits, by far more."""
    model = loaded(kind)
    prompt, other, say = words(1, 64, model), words(2, 64, model), words(3, 4, model)
    expected = alone(model.model, prompt, say)
    for mistake in ([*other[:60], *prompt[60:]], [*prompt[:50], *other[50:60], *prompt[60:]]):
        off = np.abs(alone(model.model, mistake, say) - expected).max() / expected.std()
        assert off > 3 * kind.tolerance


@pytest.mark.parametrize("bits", [None, 8], ids=["atelier-tiny", "atelier-tiny 8-bit"])
def test_gates_1_a_trained_models_text(request, bits):
    """Greedy text, token by token, of 32 conversations. Where mlx-lm's best two tokens are as good as equal, either is
    right, and the comparison of that conversation ends."""
    model = trained(bits)
    prompts = [conversation(model, number) for number in range(32)]
    counts = [140 if number == 3 else 16 for number in range(32)]
    expected = [sure(model, prompt, count) for prompt, count in zip(prompts, counts, strict=True)]
    asked = [(prompt, dict(max_tokens=count)) for prompt, count in zip(prompts, counts, strict=True)]
    with MATRIX.cell(request, model.name, "1 batch") as cell, Engine(model) as engine:
        ids = churn(engine, asked)
        assert [engine.said(id)[: len(said)] for id, (said, _) in zip(ids, expected, strict=True)] == [
            said for said, _ in expected
        ]
        assert all(engine.said(id) == said for id, (said, whole) in zip(ids, expected, strict=True) if whole)
        assert sum(whole for _, whole in expected) > 28, "hardly anything was compared"
        assert len({engine.text(id) for id in ids}) > 20, "the answers must differ for this to mean anything"
        cell.within(engine.worst(ids), 1e-4)
    with MATRIX.cell(request, model.name, "1 alone"), Engine(model, deterministic=True) as engine:
        for (prompt, options), (said, whole) in list(zip(asked, expected, strict=True))[::8]:
            (id,) = engine.ask(prompt, **options)
            assert engine.said(id)[: len(said)] == said and (not whole or len(engine.said(id)) == len(said))


def sure(model, prompt: list[int], count: int) -> tuple[list[int], bool]:
    """What mlx-lm's own greedy generator says, up to the first token that rounding might decide; and whether that is
    all that it says."""
    said, logits = greedy(model, prompt, count)
    best = np.partition(logits, -2)
    doubts = np.flatnonzero((best[:, -1] - best[:, -2]) / logits.std() < NOTHING_TO_SPEAK_OF)
    end = doubts[0] if len(doubts) else len(logits)
    return said[:end], not len(doubts)


def conversation(model, number: int) -> list[int]:
    """Of very different lengths; every fourth with the same system prompt."""
    thing = ["river", "stone", "lamp", "garden", "mirror", "paper", "window", "forest"][number // 4]
    question = [f"Say the words: {thing}, milk, {thing}s", "Count from 1 to 40.", f"What is {number % 9} plus 4?",
                f"Spell the word {thing}."][number % 4]  # fmt: skip
    if number == 3:
        question = "Tell me a long story."
    messages = [{"role": "user", "content": question}]
    if number % 4 == 3:
        messages.insert(0, {"role": "system", "content": "The key of the house is under the third stone. " * 20})
    elif number % 3:
        system = f"You are a helper. Order {number} has the colour {thing}. "
        messages.insert(0, {"role": "system", "content": system * (1 + number * number % 8)})
    return list(model.tokenizer.apply_chat_template(messages, add_generation_prompt=True, enable_thinking=False))
