"""The last layer, from hidden states to logits, for those tokens only whose successors are drawn.

A step computes every token of its prompts, but nobody reads their logits, which with a large vocabulary are a good part
of the work. `install` makes a model's head pass over them while `lanes` or `last` say so.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn

HEAD = "lm_head"
"""What mlx-lm's models call it. Others share the embedding's weights, through `as_linear`."""

_cut: Callable[[mx.array], mx.array] | None = None


def lanes(first: int | None) -> AbstractContextManager[None]:
    """Heads called meanwhile compute the logits of so many first lanes; None: of all. Models whose head is not found
    compute all of them, so a caller has to cut the answer off himself."""
    return _only(None if first is None else lambda hidden: hidden[:first])


def last() -> AbstractContextManager[None]:
    """The same, for each lane's last token."""
    return _only(lambda hidden: hidden[:, -1:] if hidden.ndim == 3 else hidden)


@contextmanager
def _only(cut: Callable[[mx.array], mx.array] | None) -> Iterator[None]:
    """cut: hidden states [lanes, tokens, width] to those that are wanted."""
    global _cut
    before, _cut = _cut, cut
    try:
        yield
    finally:
        _cut = before


def install(model: Any) -> None:
    """Calling it again is harmless."""
    for path, module in model.named_modules():
        if path.rpartition(".")[2] == HEAD:
            _make_brief(module, "__call__")
        elif isinstance(module, nn.Embedding | nn.QuantizedEmbedding):
            _make_brief(module, "as_linear")


def _make_brief(module: nn.Module, method: str) -> None:
    """Gives this one module a class of its own, in which the method looks at `_cut` first."""
    kind = type(module)
    if getattr(kind, "brief", False):
        return
    plain = getattr(kind, method)

    def brief(self: Any, x: mx.array) -> mx.array:
        answer: mx.array = plain(self, x if _cut is None else _cut(x))
        return answer

    module.__class__ = type(kind.__name__, (kind,), {method: brief, "brief": True})
