"""Which models are encoders, and why one can't be loaded."""

import json

import pytest

from inference.engine.encoder import load
from inference.engine.kinds import kind_of
from inference.engine.model import ModelError
from inference.sources import BUILTIN_FOLDER
from tests.support.encoders_made import make_embedder, write


def test_kinds_are_told_from_files_alone(tmp_path):
    assert kind_of(str(BUILTIN_FOLDER / "atelier-tiny")) == "text"
    assert kind_of(str(tmp_path / "nowhere")) == "text", "the loader will find the fault, and has the words for it"
    write(tmp_path / "judge" / "config.json", {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]})
    assert kind_of(str(tmp_path / "judge")) == "text"
    write(tmp_path / "judge" / "config_sentence_transformers.json", {"model_type": "CrossEncoder"})
    assert kind_of(str(tmp_path / "judge")) == "reranker"
    write(tmp_path / "modules" / "config.json", {"model_type": "qwen3"})
    write(tmp_path / "modules" / "modules.json", [{"type": "sentence_transformers.cross_encoder.modules.LogitScore"}])
    assert kind_of(str(tmp_path / "modules")) == "reranker"
    write(tmp_path / "pooled" / "config.json", {"model_type": "qwen3"})
    write(tmp_path / "pooled" / "1_Pooling" / "config.json", {"pooling_mode": "lasttoken"})
    assert kind_of(str(tmp_path / "pooled")) == "embedding"


def test_what_can_not_be_loaded_is_said(tmp_path):
    write(tmp_path / "no-weights" / "config.json", {"model_type": "bert"})
    with pytest.raises(ModelError, match="No safetensors"):
        load.load_encoder(str(tmp_path / "no-weights"), "x", "embedding")
    with pytest.raises(ModelError, match="can't be loaded as reranker model"):
        load.load_encoder(str(make_embedder(tmp_path / "no-head")), "x", "reranker")
    odd = make_embedder(tmp_path / "odd", pooling="weightedmean")
    with pytest.raises(ModelError, match="weightedmean"):
        load.load_encoder(str(odd), "x", "embedding")
    config = json.loads((odd / "config.json").read_text())
    write(odd / "config.json", {**config, "model_type": "unheard-of"})
    with pytest.raises(ModelError, match="unheard-of"):
        load.load_encoder(str(odd), "x", "embedding")
