"""A model's folder may bring a program, which mlx-vlm would run unasked: none is."""

import json
from pathlib import Path

import pytest

from inference.engine.encoder.load import load_encoder
from inference.engine.model import ModelError, load_model
from inference.engine.protocol import ModelKind

CONFIG = {"model_type": "qwen3_vl", "vision_config": {}, "model_file": "evil.py"}


@pytest.mark.parametrize("kind", ["text", "vision", "embedding", "reranker"])
def test_it_is_refused_and_not_run(tmp_path: Path, kind: ModelKind) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "evil.py").write_text(f"from pathlib import Path; Path({str(ran)!r}).touch()")
    (tmp_path / "model.safetensors").write_bytes((8).to_bytes(8, "little") + b"{}      ")
    with pytest.raises(ModelError, match=r"a program of its own \(evil\.py\), which is not run"):
        if kind in ("embedding", "reranker"):
            load_encoder(str(tmp_path), "evil", kind)
        else:
            load_model(str(tmp_path), "evil", kind=kind)
    assert not ran.exists()
