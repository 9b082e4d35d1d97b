"""Which kind of model a folder holds, told from its files and never from its name."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from mlx_audio import registry

from inference.engine.prepare import Refusal
from inference.engine.protocol import Embed, Generate, ModelKind, Request, Rerank, Speak, Transcribe

TELLING = ["config.json", "modules.json", "config_sentence_transformers.json", "*/config.json"]
"""The small files that say what a model is for."""
ENCODERS = {
    "bert", "modernbert", "xlm-roberta", "xlm_roberta", "llama_bidirec", "embedding_gemma2",
    "qwen3_embedding", "gemma3_embedding", "lfm2_embedding", "ministral3_embedding",
}  # fmt: skip
"""Model types of mlx-vlm that do nothing but embed, unless they have a classifier's head."""

AUDIO: dict[str, ModelKind] = {"stt": "transcription", "tts": "speech"}
"""By what mlx-audio calls them."""
CONVERSING = {"glm", "mimo"}
"""Model types of mlx-lm that mlx-audio has audio models of, too."""

OF_REQUEST: dict[type, ModelKind] = {
    Generate: "text", Embed: "embedding", Rerank: "reranker", Transcribe: "transcription", Speak: "speech",
}  # fmt: skip
DOES = {
    "text": "generate text",
    "vision": "generate text",
    "embedding": "embed texts",
    "reranker": "rank documents",
    "transcription": "transcribe sounds",
    "speech": "read texts out",
}


def kind_of(source: str) -> ModelKind:
    """The kind of a folder's or a Hugging Face id's model. What can't be read counts as text: the loader for that
    will find the same fault, and has the words for it."""
    folder = Path(source).expanduser()
    if not folder.is_dir():
        try:
            folder = Path(snapshot_download(source, allow_patterns=TELLING))
        except Exception:  # no such repository, no network, no right to it …
            return "text"
    config = _read(folder / "config.json")
    if not isinstance(config, dict):
        return "text"
    if any(str(name).endswith("ForSequenceClassification") for name in config.get("architectures") or []):
        return "reranker"
    if config.get("model_type") in ENCODERS:
        return "embedding"
    if (audio := _audio(config)) is not None:
        return audio
    return _sentence_transformers(folder) or ("vision" if "vision_config" in config else "text")


def _audio(config: dict[str, Any]) -> ModelKind | None:
    """Of a model that mlx-audio alone has."""
    model_type = str(registry.model_type_from_config(config) or "")
    known = None if model_type in CONVERSING else registry.classify_model(model_type)
    return AUDIO.get(known or "")


def _sentence_transformers(folder: Path) -> ModelKind | None:
    """What the files of that library say, which is what embedding models and rerankers are published with."""
    about = _read(folder / "config_sentence_transformers.json")
    if isinstance(about, dict) and about.get("model_type") == "CrossEncoder":
        return "reranker"
    modules = _read(folder / "modules.json")
    types = [str(module.get("type")) for module in modules if isinstance(module, dict)] if modules else []
    if any("cross_encoder" in name for name in types):
        return "reranker"
    return "embedding" if types or (folder / "1_Pooling" / "config.json").is_file() else None


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return None


def mismatch(name: str, kind: ModelKind, request: Request) -> Refusal:
    """Why a model of this kind does not answer this request."""
    wanted = OF_REQUEST[type(request)]
    return Refusal(
        "unsupported_model",
        f"{name} is a model of the kind `{kind}`: it can {DOES[kind]}, but not {DOES[wanted]}. "
        f"That takes a model of the kind `{wanted}`; `GET /v1/models` shows the kinds of yours.",
        "model",
    )
