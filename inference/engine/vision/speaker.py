"""The language model inside a model that sees, as the engine calls those of mlx-lm: tokens in, logits out."""

import functools
import sys
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import KVCache, RotatingKVCache
from mlx_vlm.models import base
from mlx_vlm.models import cache as caches

from inference.engine.kv.attention import attention
from inference.engine.vision.features import Given

AXES = 3
"""Along which Qwen's family numbers tokens: time, height and width."""

_plain = base.scaled_dot_product_attention


class Speaker:
    """Remembers nothing from call to call, unlike what it wraps: mlx-vlm's models keep the positions of the last
    prompt, and take them for the next one's where they are told none."""

    def __init__(self, model: Any):
        self.model = model
        self.language = model.language_model
        self.axes = AXES if hasattr(self.language, "get_rope_index") else 0
        """0 for a model that counts its tokens."""
        body: Any = getattr(self.language, "model", None)
        if hasattr(body, "_deepstack_process"):
            # Its own goes over the rows one by one, and asks NumPy which of their tokens are a picture's.
            plain = body._deepstack_process
            body._deepstack_process = lambda hidden, masks, level: (
                hidden + level if level.shape == hidden.shape else plain(hidden, masks, level)
            )

    def __call__(self, tokens: mx.array, cache: Any = None, given: Given | None = None) -> mx.array:
        """tokens int32 [lanes, tokens] -> logits [lanes, tokens, vocab]."""
        more: dict[str, Any] = {}
        if self.axes:
            more["position_ids"] = self._positions(tokens, cache, given)
        if given is not None and given.at is not None:
            assert given.rows is not None
            embedded = self.embed(tokens)
            flat = embedded.reshape(-1, embedded.shape[-1])
            flat[given.at] = given.rows.astype(flat.dtype)
            more["inputs_embeds"] = flat.reshape(embedded.shape)
            if given.deep:
                more["deepstack_visual_embeds"] = [_spread(level, given.at, embedded) for level in given.deep]
                more["visual_pos_masks"] = mx.ones(tokens.shape, mx.bool_)
        logits: mx.array = self.language(tokens, cache=cache, **more).logits
        return logits

    def embed(self, tokens: mx.array) -> mx.array:
        """As the language model wants them, tokens int32 [lanes, tokens] -> [lanes, tokens, width]."""
        embedded: mx.array = self.model.get_input_embeddings(tokens).inputs_embeds
        return embedded

    def _positions(self, tokens: mx.array, cache: Any, given: Given | None) -> mx.array:
        """int32 [axes, lanes, tokens]."""
        lanes, count = tokens.shape
        if given is not None and given.positions is not None:
            return given.positions.reshape(self.axes, lanes, count)
        offset = next((each.offset for each in cache or () if hasattr(each, "offset")), 0)
        first = offset[:, None] if isinstance(offset, mx.array) and offset.ndim else offset
        counted = mx.arange(count, dtype=mx.int32)[None] + first
        return mx.broadcast_to(counted[None], (self.axes, lanes, count))

    # What the engine and mlx-lm ask of a model.

    @property
    def layers(self) -> Any:
        return self.language.layers

    def __getattr__(self, name: str) -> Any:
        # `make_cache` is there only for models that need one of their own.
        if name == "make_cache":
            make = self.language.make_cache
            return lambda: [_as_known(cache) for cache in make()]
        raise AttributeError(name)

    def named_modules(self) -> Any:
        return self.language.named_modules()

    def parameters(self) -> Any:
        return self.language.parameters()


def _as_known(cache: Any) -> Any:
    """An empty cache of mlx-vlm's as the one of mlx-lm's that does the same, which is what slots are made of."""
    if type(cache) is caches.KVCache:
        return KVCache()
    if type(cache) is caches.RotatingKVCache:
        return RotatingKVCache(max_size=cache.max_size, keep=cache.keep)
    return cache


def _spread(level: mx.array, at: mx.array, like: mx.array) -> mx.array:
    """level [seen, width] at its places among the tokens of `like` [lanes, tokens, width], zeros elsewhere."""
    flat = mx.zeros((like.shape[0] * like.shape[1], like.shape[2]), like.dtype)
    flat[at] = level.astype(like.dtype)
    return flat.reshape(like.shape)


@functools.wraps(_plain)
def _routed(
    queries: mx.array,
    keys: Any,
    values: Any,
    cache: Any,
    scale: float,
    mask: Any = None,
    sinks: mx.array | None = None,
) -> mx.array:
    attend = getattr(cache, "attend", None)
    if attend is not None:
        answer: mx.array = attend(queries, scale, mask, sinks)
    else:
        answer = attention(queries, keys, values, scale, mask, sinks)
    return answer


def install() -> None:
    """As `kv.attention.install`, for the models of mlx-vlm."""
    for name, module in list(sys.modules.items()):
        if name.startswith("mlx_vlm.models.") and getattr(module, "scaled_dot_product_attention", None) is _plain:
            module.scaled_dot_product_attention = _routed  # type: ignore[attr-defined]


def blocks(tower: Any) -> Iterator[Any]:
    """The layers of a picture encoder: what it has lists of, wherever they are in it."""
    if not isinstance(tower, nn.Module):
        return
    for part in tower.children().values():
        if isinstance(part, list):
            yield from (layer for layer in part if isinstance(layer, nn.Module) and layer.children())
        else:
            yield from blocks(part)
