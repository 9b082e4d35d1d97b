"""Embedding models and rerankers, within the test's process: equal to the library, in whatever company a text is; and
what they refuse to read."""

import mlx.core as mx
import numpy as np
import pytest

from inference.engine.encoder import load
from inference.engine.kinds import kind_of
from inference.engine.prepare import Refusal
from inference.engine.protocol import Embed, Generate, Ranked, Rerank
from tests.support.encoder_engine import CLIENT, ROUNDING, TEXTS, Engine
from tests.support.encoders_made import (
    CONTEXT,
    FAMILIES,
    library_scores,
    library_vectors,
    make_embedder,
    make_reranker,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("encoders")


# --- equal to the library ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "pooling"),
    [
        (family, pooling)
        for family in FAMILIES
        for pooling in (None, "cls", "mean", "max", "lasttoken")
        if (family, pooling) != ("qwen3", "cls")  # the first token of a causal model knows nothing of the text
    ],
)
def test_vectors_are_the_librarys_own_however_they_are_batched(folder, family, pooling):
    place = make_embedder(folder / f"{family}-{pooling}", family, pooling=pooling)
    assert kind_of(str(place)) == "embedding"
    encoder = load.load_encoder(str(place), family, "embedding")
    assert encoder.context_length == CONTEXT
    expected = library_vectors(place, TEXTS)
    assert np.std(expected, axis=0).mean() > 0.01, "the texts differ to this model"
    engine = Engine(encoder)
    assert (engine.core.batching, engine.core.batching_reason) == ("batched", "")
    for count in (1, 3, len(TEXTS)):
        engine.submit(Embed(f"first {count}", TEXTS[:count]))
        engine.submit(Embed(f"rest {count}", TEXTS[count:] or TEXTS[:1]))
        engine.finish()
        assert np.abs(engine.vectors(f"first {count}") - expected[:count]).max() < ROUNDING
        if count < len(TEXTS):
            assert np.abs(engine.vectors(f"rest {count}") - expected[count:]).max() < ROUNDING


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_the_librarys_own(folder, family):
    place = make_reranker(folder / f"{family}-reranker", family)
    # What a language model is for, its files need not say.
    assert kind_of(str(place)) == ("text" if family == "qwen3" else "reranker")
    encoder = load.load_encoder(str(place), family, "reranker")
    expected = library_scores(place, "quick fox?", TEXTS[:6])
    assert len(set(expected)) == 6 and all(0 <= score <= 1 for score in expected)
    engine = Engine(encoder)
    engine.submit(Rerank("r", "quick fox?", TEXTS[:6]))
    engine.submit(Rerank("other", "another query", TEXTS[:1]))
    engine.finish()
    [answer], end = engine.said["r"]
    assert isinstance(answer, Ranked)
    assert np.abs(np.array(answer.scores) - expected).max() < ROUNDING
    assert end.tally.prompt_tokens == sum(answer.tokens)
    assert engine.said["other"][0][0].scores != answer.scores[:1]


def test_sixteen_bits_come_out_as_float32(folder):
    place = make_embedder(folder / "half", "qwen3", dtype=mx.bfloat16)
    engine = Engine(load.load_encoder(str(place), "half", "embedding"))
    assert engine.core.batching == "batched"
    engine.submit(Embed("e", TEXTS))
    engine.finish()
    assert np.abs(engine.vectors("e") - library_vectors(place, TEXTS)).max() < 0.02


def test_token_ids_are_taken_as_they_are(bert):
    engine = Engine(bert)
    [text] = bert.tokenize(["The quick brown fox"])
    engine.submit(Embed("e", ["The quick brown fox", text.ids]))
    engine.finish()
    first, second = engine.vectors("e")
    assert np.abs(first - second).max() < ROUNDING
    assert engine.said["e"][0][0].tokens == [len(text.ids)] * 2


def test_fewer_dimensions_are_the_first_ones_at_length_one(bert):
    engine = Engine(bert)
    engine.submit(Embed("whole", TEXTS[:3]))
    engine.submit(Embed("part", TEXTS[:3], dimensions=10))
    engine.finish()
    part = engine.vectors("part")
    assert part.shape == (3, 10)
    assert np.allclose(np.linalg.norm(part, axis=1), 1, atol=1e-6)
    whole = engine.vectors("whole")[:, :10]
    assert np.allclose(part, whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-6)


# --- what can't be read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "dimensions", "code", "param", "says"),
    [
        (["short", "x y z " * 60], None, "context_length_exceeded", "input[1]", f"holds {CONTEXT}"),
        (["x y z " * 60], None, "context_length_exceeded", "input", "Shorten"),
        ([[1, 2], [1, 10**6]], None, "invalid_prompt", "input[1]", "no token 1000000"),
        (["a"], 65, "invalid_prompt", "dimensions", "from 1 to 64"),
        (["a"], 0, "invalid_prompt", "dimensions", "from 1 to 64"),
        (["a", []], None, "invalid_prompt", "input[1]", "empty"),
    ],
)
def test_what_is_refused_is_named(bert, inputs, dimensions, code, param, says):
    engine = Engine(bert)
    with pytest.raises(Refusal) as refused:
        engine.submit(Embed("e", inputs, dimensions=dimensions))
    assert (refused.value.code, refused.value.param) == (code, param)
    assert says in refused.value.message


def test_a_shorter_context_is_the_operators_to_set(bert):
    engine = Engine(bert, effective_context_tokens=8)
    with pytest.raises(Refusal) as refused:
        engine.submit(Embed("e", ["fox", "The quick brown fox jumps over the lazy dog"]))
    assert refused.value.param == "input[1]" and "holds 8" in refused.value.message


def test_a_document_that_is_too_long_is_named(folder):
    place = make_reranker(folder / "short-reranker")
    engine = Engine(load.load_encoder(str(place), "r", "reranker"))
    with pytest.raises(Refusal) as refused:
        engine.submit(Rerank("r", "fox?", ["fox", "x y z " * 60]))
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "documents[1]")


def test_other_requests_are_refused_by_name_and_kind(bert):
    engine = Engine(bert)
    for request in (Generate("g", prompts=["a"]), Rerank("r", "a", ["b"])):
        with pytest.raises(Refusal) as refused:
            engine.reception.prepare(CLIENT, request)
        assert (refused.value.code, refused.value.param) == ("unsupported_model", "model")
        assert "bert is a model of the kind `embedding`" in refused.value.message
    with pytest.raises(Refusal):
        engine.reception.count(Generate("g", prompts=["a"]))
