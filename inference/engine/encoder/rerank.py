"""Rerankers: query and document to a score between 0 and 1, as mlx-vlm scores them."""

from abc import abstractmethod

import mlx.core as mx

from inference.engine.encoder.encoder import Encoder
from inference.engine.encoder.job import Job, Text
from inference.engine.kinds import mismatch
from inference.engine.protocol import Ranked, Request, Rerank


class Reranker(Encoder):
    kind = "reranker"

    def read(self, request: Request) -> list[Text]:
        if not isinstance(request, Rerank):
            raise mismatch(self.name, self.kind, request)
        return self.pairs(request.query.strip(), [document.strip() for document in request.documents])

    @abstractmethod
    def pairs(self, query: str, documents: list[str]) -> list[Text]: ...

    def place(self, request: Request, index: int) -> str:
        return f"documents[{index}]"

    def answer(self, job: Job) -> Ranked:
        scores = [float(job.results[row.index][0]) for row in job.rows]
        return Ranked(job.id, scores, [row.length for row in job.rows])


class PairReranker(Reranker):
    """One whose head reads query and document as a pair: BERT and its kin."""

    def pairs(self, query: str, documents: list[str]) -> list[Text]:
        return self.tokenize([query] * len(documents), documents)

    def forward(self, ids: mx.array, mask: mx.array, types: mx.array | None) -> mx.array:
        known = {} if types is None else {"token_type_ids": types}
        return mx.sigmoid(self.model(ids, attention_mask=mask, **known).logits)
