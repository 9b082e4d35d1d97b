"""Loading an encoder by mlx-vlm, and whether its rows can share a step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten
from mlx_vlm.embedding_loader import load_embedding_model
from mlx_vlm.models.pooling import read_pooling_config
from mlx_vlm.reranker import RerankerKind, reranker_kind
from mlx_vlm.reranker_loader import load_reranker
from mlx_vlm.utils import get_model_path, load_config, load_processor

from inference.engine.encoder.embed import Embedder
from inference.engine.encoder.encoder import Encoder
from inference.engine.encoder.job import Text
from inference.engine.encoder.rerank import PairReranker
from inference.engine.model import ModelError, own_code
from inference.engine.protocol import ModelKind

SHORT, LONG = 5, 17
"""Tokens of the two texts that the self-test reads."""
CLOSE, CLOSE_HALF = 1e-4, 5e-2
"""How far apart the same vector (of length 1) or score may be, in float32 and in 16 bits: a mistake is 0.1 and more."""


def load_encoder(source: str, name: str, kind: ModelKind) -> Encoder:
    """Loads a folder or a Hugging Face id. Raises ModelError. To be called by the thread that will run the model."""
    try:
        folder = get_model_path(str(Path(source).expanduser()) if Path(source).expanduser().is_dir() else source)
        if reason := own_code(folder):
            raise ModelError(f"{source} can't be loaded: {reason}.")
        encoder = _embedder(folder, name) if kind == "embedding" else _reranker(folder, name)
        mx.eval(encoder.model.parameters())
    except ModelError:
        raise
    except FileNotFoundError as error:
        raise ModelError(f"{source}: {error}") from error
    except Exception as error:  # whatever a foreign model's files make its loaders raise
        raise ModelError(f"{source} can't be loaded as {kind} model: {type(error).__name__}: {error}") from error
    return encoder


def _embedder(folder: Path, name: str) -> Encoder:
    model: Any = load_embedding_model(folder)
    model.pooling_config = read_pooling_config(folder)
    return Embedder(name, model, _tokenizer(folder), load_config(folder))


def _reranker(folder: Path, name: str) -> Encoder:
    config = load_config(folder)
    known = reranker_kind(config)
    if known == RerankerKind.GENERATIVE_VL:
        raise ValueError("rerankers that look at pictures are not served")
    model, processor = load_reranker(folder)
    of: Callable[..., Encoder] = PairReranker
    if known == RerankerKind.GENERATIVE_TEXT:
        from inference.engine.encoder.judge import JudgeReranker  # a second of imports, for these models only

        of = JudgeReranker
    return of(name, model, getattr(processor, "tokenizer", processor), config)


def _tokenizer(folder: Path) -> Any:
    processor = load_processor(folder, add_detokenizer=False)
    return getattr(processor, "tokenizer", processor)


def pads_badly(encoder: Encoder) -> str:
    """Why a text must be read alone: beside a longer one the model makes something else of it. Empty where it may
    share a step."""
    ids = [token for token in range(encoder.vocab) if token != encoder.pad]
    draw = np.random.default_rng(0)
    short, long = ([int(token) for token in draw.choice(ids, count)] for count in (SHORT, LONG))
    texts = [Text(each, None) for each in (short, long)]
    try:
        alone, together = encoder.compute(texts[:1])[0], encoder.compute(texts)[0]
    except Exception as error:  # what a foreign model makes of padding
        return f"the model fails on texts of several lengths ({type(error).__name__})"
    dtypes = {array.dtype for _, array in tree_flatten(encoder.model.parameters())}
    allowed = CLOSE_HALF if dtypes & {mx.float16, mx.bfloat16} else CLOSE
    apart = float(np.linalg.norm(alone - together))
    return "" if apart <= allowed else f"padding changes what the model makes of a text (by {apart:.1g})"
