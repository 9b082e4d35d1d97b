"""What all encoders have in common: texts in, one row of numbers for each out."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import mlx.core as mx
import numpy as np

from inference.engine import protocol
from inference.engine.encoder.job import Job, Text
from inference.engine.prepare import Refusal
from inference.engine.traits import traits_of

UNBOUNDED = 1_000_000
"""A tokenizer that knows no limit says a number far above this."""
POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len")


class Encoder(ABC):
    """A loaded model, and how a request becomes texts for it. To be run by the thread that loaded it.

    tokenizer: transformers'.  vocab: token ids at or above it don't exist.  context_length: tokens of the longest text.
    """

    kind: ClassVar[protocol.ModelKind]

    def __init__(self, name: str, model: Any, tokenizer: Any, config: dict[str, Any]) -> None:
        self.name = name
        self.model = model
        self.tokenizer = tokenizer
        inner = {**config, **(config.get("text_config") or {})}
        self.vocab = int(inner.get("vocab_size") or len(tokenizer))
        self.pad = _pad(tokenizer, inner)
        self.context_length = _context(tokenizer, inner)
        self.traits = traits_of(config)
        # The first call settles truncation and padding in the tokenizer, which later calls from several threads share.
        self.tokenize(["a"])

    @abstractmethod
    def read(self, request: protocol.Request) -> list[Text]:
        """What the model has to read for it. Raises Refusal. Called by several threads."""

    @abstractmethod
    def place(self, request: protocol.Request, index: int) -> str:
        """What the client calls one of the texts, such as `input[3]`."""

    @abstractmethod
    def forward(self, ids: mx.array, mask: mx.array, types: mx.array | None) -> mx.array:
        """ids, mask (1 where there is text, 0 in the padding behind it), types: [rows, longest] -> [rows, width]."""

    @abstractmethod
    def answer(self, job: Job) -> protocol.Embedded | protocol.Ranked:
        """Of a job whose rows all have results."""

    def compute(self, texts: list[Text]) -> np.ndarray:
        """float32 [rows, width], in one step."""
        longest = max(len(text.ids) for text in texts)
        ids, mask = np.full((len(texts), longest), self.pad, np.int32), np.zeros((len(texts), longest), np.int32)
        types = np.zeros_like(ids) if texts[0].types else None
        for row, text in enumerate(texts):
            ids[row, : len(text.ids)] = text.ids
            mask[row, : len(text.ids)] = 1
            if types is not None and text.types is not None:
                types[row, : len(text.ids)] = text.types
        values = self.forward(mx.array(ids), mx.array(mask), None if types is None else mx.array(types))
        return np.array(values.astype(mx.float32))

    def tokenize(self, texts: list[str], pairs: list[str] | None = None) -> list[Text]:
        """With the special tokens that belong around them."""
        read = self.tokenizer(texts, pairs, padding=False, truncation=False, verbose=False)
        types = read.get("token_type_ids") or [None] * len(texts)
        return [Text(ids, kinds) for ids, kinds in zip(read["input_ids"], types, strict=True)]

    def too_long(self, where: str, tokens: int, context: int) -> Refusal:
        short = " while memory is short" if context < self.context_length else ""
        return Refusal(
            "context_length_exceeded",
            f"{where} has {tokens} tokens, but this model's context holds {context}{short}. Shorten it or split it.",
            where,
        )


def _pad(tokenizer: Any, config: dict[str, Any]) -> int:
    """Some models tell padding by this very token; to others it is all the same."""
    for known in (config.get("pad_token_id"), tokenizer.pad_token_id, tokenizer.eos_token_id):
        if isinstance(known, int):
            return known
    return 0


def _context(tokenizer: Any, config: dict[str, Any]) -> int:
    positions = next((config[key] for key in POSITIONS if isinstance(config.get(key), int)), UNBOUNDED)
    if str(config.get("model_type", "")).replace("-", "_") == "xlm_roberta":
        # Its positions begin behind the padding token's number.
        positions -= int(config.get("pad_token_id", 1)) + 1
    return int(min(positions, tokenizer.model_max_length or UNBOUNDED, UNBOUNDED))
