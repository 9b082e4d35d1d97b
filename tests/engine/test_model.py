"""What the engine learns from a model's folder."""

import json

import pytest

from inference.engine.model import FALLBACK_CONTEXT, ModelError, context_length, load_model
from inference.engine.prepare import Refusal, prepare
from inference.engine.protocol import Generate, Sampling
from tests.support.models_made import make_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


def recommending(folder, content):
    (folder / "generation_config.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return load_model(str(folder), "made")


def test_it_knows_what_requests_are_checked_against(folder):
    model = load_model(str(folder), "made")
    assert model.vocab == len(model.tokenizer) and model.context_length == 2048
    assert model.end_tokens == {model.tokenizer.eos_token_id}
    assert model.has_chat_template


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"max_position_embeddings": 77}, 77),
        ({"text_config": {"max_position_embeddings": 78}}, 78),
        ({"n_positions": 79}, 79),
        ({}, FALLBACK_CONTEXT),
    ],
)
def test_the_context_length_has_several_names(config, expected):
    assert context_length(config) == expected


def test_every_configured_end_token_counts(folder):
    model = recommending(folder, {"eos_token_id": [0, 5]})
    assert {0, 5, model.tokenizer.eos_token_id} <= model.end_tokens


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"do_sample": False, "temperature": 0.7}, {"temperature": 0.0}),
        ({"do_sample": True, "temperature": 0.6, "top_k": 20}, {"temperature": 0.6, "top_k": 20}),
        ({"temperature": "hot", "top_p": None, "top_k": True}, {}),
        ({}, {}),
    ],
)  # fmt: skip
def test_recommended_sampling(folder, content, expected):
    assert recommending(folder, content).defaults == expected


def test_a_recommendation_fills_only_what_was_left_out(folder):
    model = recommending(folder, {"do_sample": True, "temperature": 0.6, "top_p": 0.95})
    sampling = Sampling(temperature=1.0, top_p=0.5, seed=3)
    request = Generate(id="x", prompts=["again"], sampling=sampling, omitted=["temperature", "top_k", "min_p"])
    assert prepare(b"", request, model).sequences[0].sampling == Sampling(temperature=0.6, top_p=0.5, seed=3)
    assert prepare(b"", Generate(id="x", prompts=["again"], sampling=sampling), model).sequences[0].sampling == sampling


def test_without_a_chat_template_only_plain_prompts_work(tmp_path):
    folder = make_model(tmp_path)
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        path = folder / name
        if path.suffix == ".jinja":
            path.unlink(missing_ok=True)
        else:
            content = json.loads(path.read_text())
            content.pop("chat_template", None)
            path.write_text(json.dumps(content))
    model = load_model(str(folder), "made")
    assert not model.has_chat_template
    assert prepare(b"", Generate(id="x", prompts=["again"]), model).sequences[0].prompt
    with pytest.raises(Refusal) as caught:
        prepare(b"", Generate(id="x", messages=[{"role": "user", "content": "again"}]), model)
    assert caught.value.param == "messages" and "completions" in caught.value.message


def test_weights_that_do_not_fit_are_one_clear_error(tmp_path):
    folder = make_model(tmp_path)
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {"hidden_size": 48}))
    with pytest.raises(ModelError, match="can't be loaded"):
        load_model(str(folder), "made")
