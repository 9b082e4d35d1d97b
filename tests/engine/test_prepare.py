"""What a client's message becomes before anything is computed."""

import mlx.core as mx
import pytest

from inference.engine.prepare import Limits, Refusal, prepare
from inference.engine.protocol import Format, Generate, Sampling
from inference.engine.scoring import CHUNK, score
from inference.engine.text.infill import encode_infill
from inference.engine.text.template import PromptError
from tests.support.models_made import KINDS, loaded, words
from tests.support.tokenizers_made import byte_level

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def model():
    return loaded(KINDS[0])


def test_answers_are_numbered_by_prompt_and_drawn_anew(model):
    request = Generate(id="x", prompts=["again", [3, 4]], n=3, sampling=Sampling(temperature=1.0, seed=2**32 - 1))
    prepared = prepare(b"c", request, model)
    assert [sequence.index for sequence in prepared.sequences] == list(range(6))
    assert [sequence.id for sequence in prepared.sequences] == ["x", "x#1", "x#2", "x#3", "x#4", "x#5"]
    assert [sequence.sampling.seed for sequence in prepared.sequences] == [2**32 - 1, 0, 1] * 2
    first, second = prepared.sequences[0].prompt, prepared.sequences[3].prompt
    assert second == [3, 4] and prepared.prompt_tokens == len(first) + len(second)


def test_tools_need_a_template_that_knows_them(model):
    request = Generate(id="x", messages=[{"role": "user", "content": "again"}], tools=[TOOL])
    with pytest.raises(Refusal) as refused:
        prepare(b"c", request, model)
    assert refused.value.param == "tools"


def test_a_form_that_can_not_be_compiled_is_refused(model):
    schema = Format("json_schema", '{"type": "nothing"}')
    request = Generate(id="x", messages=[{"role": "user", "content": "again"}], format=schema)
    with pytest.raises(Refusal) as refused:
        prepare(b"c", request, model)
    assert refused.value.code == "invalid_format" and refused.value.param == "response_format"
    assert "nothing" in refused.value.message


def test_a_context_that_is_short_of_memory_counts(model):
    request = Generate(id="x", prompts=[[3] * 100], max_tokens=50)
    assert prepare(b"c", request, model, Limits(context=lambda length: 150)).sequences[0].max_tokens == 50
    with pytest.raises(Refusal) as refused:
        prepare(b"c", request, model, Limits(context=lambda length: 149))
    assert refused.value.code == "context_length_exceeded" and "memory is short" in refused.value.message


MARKS = ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"]


def test_a_hole_is_marked_as_the_model_learnt_it():
    tokenizer = byte_level()
    tokenizer.add_special_tokens({"additional_special_tokens": MARKS})
    tokens = encode_infill(tokenizer, "def main(", "return 1")
    assert tokenizer.decode(tokens) == "<|fim_prefix|>def main(<|fim_suffix|>return 1<|fim_middle|>"


def test_models_that_want_what_follows_first():
    tokenizer = byte_level()
    tokenizer.add_special_tokens({"additional_special_tokens": ["[SUFFIX]", "[PREFIX]"]})
    assert tokenizer.decode(encode_infill(tokenizer, "a b", "c")) == "[SUFFIX]c[PREFIX]a b"


def test_a_model_that_never_saw_a_hole():
    with pytest.raises(PromptError) as refused:
        encode_infill(byte_level(), "a", "b")
    assert refused.value.param == "suffix"


@pytest.mark.parametrize("length", [2, CHUNK, CHUNK + 1, CHUNK + 2, 2 * CHUNK + 50])
def test_scores_are_the_models_own_in_any_chunks(model, length):
    tokens = words(5, length, model)
    told = [record for chunk in score(model.model, tokens, 2) for record in chunk]
    logits = model.model(mx.array(tokens)[None])[0].astype(mx.float32)
    expected = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    assert len(told) == length - 1
    for place, record in enumerate(told):
        assert record.chosen == pytest.approx(float(expected[place, tokens[place + 1]]), abs=1e-4)
        assert len(record.top) == 2
        assert record.top[0][1] == pytest.approx(float(expected[place].max()), abs=1e-4)


def test_a_prompt_of_one_token_has_nothing_to_score(model):
    assert list(score(model.model, [3], 0)) == []
