"""Small seeded embedding models and rerankers, written as published ones are; and what mlx-vlm itself makes of texts
with them."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten
from mlx_vlm.embedding_loader import load_embedding_model
from mlx_vlm.models import bert, modernbert, qwen3, qwen3_embedding, xlm_roberta
from mlx_vlm.models.pooling import read_pooling_config
from mlx_vlm.reranker_loader import load_reranker
from mlx_vlm.server.embeddings import _embed
from mlx_vlm.server.reranking import normalize_item, score_documents
from mlx_vlm.utils import load_processor
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from tests.support.models_made import SHAPE, TEMPLATE
from tests.support.tokenizers_made import byte_level

CONTEXT = 128
BERT_SHAPE = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
    "max_position_embeddings": CONTEXT, "type_vocab_size": 2,
}  # fmt: skip
FAMILIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "bert": (bert, {**BERT_SHAPE, "model_type": "bert"}),
    "xlm-roberta": (xlm_roberta, {**BERT_SHAPE, "model_type": "xlm-roberta", "max_position_embeddings": CONTEXT + 1}),
    "modernbert": (modernbert, {**BERT_SHAPE, "model_type": "modernbert", "local_attention": 8}),
    "qwen3": (qwen3_embedding, {**SHAPE, "model_type": "qwen3", "max_position_embeddings": CONTEXT}),
}
"""mlx-vlm's module and the configuration. XLM-RoBERTa's positions begin behind its padding token, which is 0 here."""


def make_embedder(
    folder: Path, family: str = "bert", *, pooling: str | None = None, dtype: mx.Dtype = mx.float32
) -> Path:
    """Writes a random embedding model and returns its folder. pooling: written as sentence-transformers does; None
    leaves it to the architecture."""
    module, config = FAMILIES[family]
    if pooling is not None or family == "qwen3":
        write(folder / "modules.json", [{"idx": 0, "type": "sentence_transformers.models.Transformer"}])
    if pooling is not None:
        write(folder / "1_Pooling" / "config.json", {"pooling_mode": pooling})
    return _write(folder, module.Model, module, {**config, "architectures": ["Model"]}, dtype)


def make_reranker(folder: Path, family: str = "bert") -> Path:
    """The same for a reranker; of qwen3, the kind that is asked for yes or no."""
    if family == "qwen3":
        config = {
            **SHAPE,
            "model_type": "qwen3",
            "max_position_embeddings": 1024,
            "architectures": ["Qwen3ForCausalLM"],
        }
        return _write(folder, qwen3.Model, qwen3, config, mx.float32)
    module, config = FAMILIES[family]
    config = {**config, "architectures": ["ModelForSequenceClassification"], "num_labels": 1}
    return _write(folder, module.SequenceClassificationModel, module, config, mx.float32)


def _write(folder: Path, make: Any, module: Any, config: dict[str, Any], dtype: mx.Dtype) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = framed()
    tokenizer.save_pretrained(folder)
    config = {**config, "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    mx.random.seed(0)
    model = make(module.ModelConfig.from_dict(config))
    model.set_dtype(dtype)
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())), {"format": "mlx"})
    write(folder / "config.json", config)
    return folder


def framed() -> PreTrainedTokenizerFast:
    """A tokenizer that puts its marks around a text, and between a query and a document."""
    tokenizer = byte_level()
    tokenizer.add_tokens(["yes", "no"])
    start, end = "<|im_start|>", "<|im_end|>"
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {end} $B:1 {end}:1",
        special_tokens=[(mark, tokenizer.convert_tokens_to_ids(mark)) for mark in (start, end)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        eos_token=end,
        pad_token="<|endoftext|>",
        chat_template=TEMPLATE,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def library_vectors(folder: Path, texts: list[str]) -> np.ndarray:
    """float32 [texts, width] as mlx-vlm's own endpoint makes them, one text at a time."""
    model: Any = load_embedding_model(folder)
    model.pooling_config = read_pooling_config(folder)
    tokenizer = load_processor(folder, add_detokenizer=False)
    return np.array([_embed(model, tokenizer, [text])[0][0] for text in texts], np.float32)


def library_scores(folder: Path, query: str, documents: list[str]) -> list[float]:
    """The same for a reranker, one document at a time."""
    model, processor = load_reranker(folder)
    asked = normalize_item(query, "query")
    items = [normalize_item(document, "document") for document in documents]
    return [score_documents(model, processor, model.config, asked, [item], None)[0][0] for item in items]
