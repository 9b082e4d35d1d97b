"""The last layer, from hidden states to logits, for those lanes only whose tokens are drawn.

A mixed step computes every token of its prompts, but nobody reads their logits, which with a large vocabulary are a
good part of the work. `install` makes a model's head pass over them while `only` says so.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn

HEAD = "lm_head"
"""What mlx-lm's models call it. Others share the embedding's weights, through `as_linear`."""

_first: int | None = None


@contextmanager
def only(first: int | None) -> Iterator[None]:
    """Heads called meanwhile compute the logits of so many first lanes; None: of all. Models whose head is not found
    compute all of them, so a caller has to cut the answer off himself."""
    global _first
    before, _first = _first, first
    try:
        yield
    finally:
        _first = before


def install(model: Any) -> None:
    """Calling it again is harmless."""
    for path, module in model.named_modules():
        if path.rpartition(".")[2] == HEAD:
            _make_brief(module, "__call__")
        elif isinstance(module, nn.Embedding | nn.QuantizedEmbedding):
            _make_brief(module, "as_linear")


def _make_brief(module: nn.Module, method: str) -> None:
    """Gives this one module a class of its own, in which the method looks at `only` first."""
    kind = type(module)
    if getattr(kind, "brief", False):
        return
    plain = getattr(kind, method)

    def brief(self: Any, x: mx.array) -> mx.array:
        answer: mx.array = plain(self, x if _first is None else x[:_first])
        return answer

    module.__class__ = type(kind.__name__, (kind,), {method: brief, "brief": True})
