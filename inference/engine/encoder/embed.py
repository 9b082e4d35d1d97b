"""Embedding models: texts to vectors, as mlx-vlm pools and normalises them."""

from typing import Any

import mlx.core as mx
import numpy as np

from inference.engine.encoder.encoder import Encoder
from inference.engine.encoder.job import Job, Text
from inference.engine.kinds import mismatch
from inference.engine.prepare import Refusal
from inference.engine.protocol import Embed, Embedded, Request


class Embedder(Encoder):
    """width: numbers in a whole vector."""

    kind = "embedding"

    def __init__(self, name: str, model: Any, tokenizer: Any, config: dict[str, Any]) -> None:
        super().__init__(name, model, tokenizer, config)
        self.width = int(self.compute(self.tokenize(["a"])).shape[-1])

    def read(self, request: Request) -> list[Text]:
        if not isinstance(request, Embed):
            raise mismatch(self.name, self.kind, request)
        if request.dimensions is not None and not 1 <= request.dimensions <= self.width:
            raise Refusal(
                "invalid_prompt",
                f"dimensions: this model's vectors have {self.width}, so it must be from 1 to {self.width}.",
                "dimensions",
            )
        words = [each for each in request.inputs if isinstance(each, str)]
        read = iter(self.tokenize(words) if words else [])
        texts = [next(read) if isinstance(each, str) else Text(each) for each in request.inputs]
        for index, text in enumerate(texts):
            self._check(self.place(request, index), text)
        return texts

    def place(self, request: Request, index: int) -> str:
        return f"input[{index}]" if isinstance(request, Embed) and len(request.inputs) > 1 else "input"

    def _check(self, where: str, text: Text) -> None:
        if not text.ids:
            raise Refusal("invalid_prompt", f"{where} is empty.", where)
        stranger = next((token for token in text.ids if not 0 <= token < self.vocab), None)
        if stranger is not None:
            raise Refusal("invalid_prompt", f"{where}: this model has no token {stranger}.", where)

    def forward(self, ids: mx.array, mask: mx.array, types: mx.array | None) -> mx.array:
        vectors: mx.array | None = getattr(self.model(ids, attention_mask=mask), "text_embeds", None)
        if vectors is None or vectors.ndim != 2:
            raise ValueError("it makes no single vector of a text")
        return vectors

    def answer(self, job: Job) -> Embedded:
        assert isinstance(job.request, Embed)
        vectors = np.stack([job.results[row.index] for row in job.rows])
        if job.request.dimensions is not None and job.request.dimensions < self.width:
            vectors = vectors[:, : job.request.dimensions]
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        tokens = [row.length for row in job.rows]
        return Embedded(job.id, vectors.shape[1], vectors.astype("<f4").tobytes(), tokens)
