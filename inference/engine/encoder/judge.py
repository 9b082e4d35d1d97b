"""Rerankers that are language models: they are asked, and say yes or no."""

from typing import Any

import mlx.core as mx
from mlx_vlm.server import reranking

from inference.engine.encoder.job import Text
from inference.engine.encoder.rerank import Reranker


class JudgeReranker(Reranker):
    """The score is the probability of yes against no."""

    def __init__(self, name: str, model: Any, tokenizer: Any, config: dict[str, Any]) -> None:
        self._suffix = tokenizer.encode(reranking.TEXT_SUFFIX, add_special_tokens=False)
        self._yes, self._no = (_token(tokenizer, word) for word in ("yes", "no"))
        super().__init__(name, model, tokenizer, config)

    def pairs(self, query: str, documents: list[str]) -> list[Text]:
        prompts = [
            self.tokenizer.apply_chat_template(messages(query, document), tokenize=False, enable_thinking=False)
            for document in documents
        ]
        read = self.tokenizer(prompts, add_special_tokens=False, padding=False, truncation=False, verbose=False)
        return [Text([*ids, *self._suffix]) for ids in read["input_ids"]]

    def forward(self, ids: mx.array, mask: mx.array, types: mx.array | None) -> mx.array:
        language = self.model.language_model
        inner = language.model
        hidden = inner.embed_tokens(ids)
        for layer in inner.layers:
            # The padding is behind the text, where causal attention doesn't look.
            hidden = layer(hidden, "causal", None)
        last = mx.sum(mask, axis=1) - 1
        hidden = inner.norm(hidden)[mx.arange(ids.shape[0]), last]
        logits = language.lm_head(hidden) if hasattr(language, "lm_head") else inner.embed_tokens.as_linear(hidden)
        return mx.sigmoid(logits[:, self._yes] - logits[:, self._no])[:, None]


def messages(query: str, document: str) -> list[dict[str, str]]:
    """The question, in the words that the library asks it in."""
    return [
        {"role": "system", "content": reranking.SYSTEM_PROMPT},
        {
            "role": "user",
            "content": f"<Instruct>: {reranking.DEFAULT_INSTRUCTION}\n\n<Query>: {query}\n\n<Document>: {document}",
        },
    ]


def _token(tokenizer: Any, word: str) -> int:
    """Raises ValueError for a tokenizer that spells it in several."""
    ids = tokenizer.encode(word, add_special_tokens=False)
    if len(ids) != 1:
        raise ValueError(f"its tokenizer has no token for {word!r}, so it can't judge")
    return int(ids[0])
