"""What training swaps into mlx-vlm's vision tower: equal parts that are faster on a CPU, and a memory of its output."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_vlm.models.qwen3_vl.vision import Attention, VisionModel

_STEEPNESS = math.sqrt(8 / math.pi)


class QuickGELU(nn.Module):  # type: ignore[misc]  # mlx is untyped
    """GELU's tanh form, equal to nn.GELU(approx="tanh") within 1e-6, which raises to the third power by `pow`."""

    def __call__(self, x: mx.array) -> mx.array:
        return x * mx.sigmoid(_STEEPNESS * (x + 0.044715 * x * x * x))


class EvenAttention(Attention):  # type: ignore[misc]  # mlx is untyped
    """mlx-vlm's attention, in one call for all pictures where they have equally many patches."""

    def __call__(self, x: mx.array, cu_seqlens: mx.array, rotary_pos_emb: mx.array) -> mx.array:
        """`x` [patches of all pictures, dim], `cu_seqlens` the first patch of each picture and the end."""
        ends: Any = cu_seqlens.tolist()
        pictures, patches = len(ends) - 1, ends[1]
        if ends != list(range(0, patches * pictures + 1, patches)):
            picture_by_picture: mx.array = super().__call__(x, cu_seqlens=cu_seqlens, rotary_pos_emb=rotary_pos_emb)
            return picture_by_picture
        angles = rotary_pos_emb.reshape(pictures, 1, patches, -1)
        cosine = mx.concatenate([mx.cos(angles)] * 2, axis=-1)
        sine = mx.concatenate([mx.sin(angles)] * 2, axis=-1)

        def turn(heads: mx.array) -> mx.array:
            left, right = mx.split(heads, 2, axis=-1)
            return heads * cosine + mx.concatenate([-right, left], axis=-1) * sine

        heads = self.qkv(x).reshape(pictures, patches, 3, self.num_heads, -1).transpose(2, 0, 3, 1, 4)
        out = mx.fast.scaled_dot_product_attention(turn(heads[0]), turn(heads[1]), heads[2], scale=self.scale)
        projected: mx.array = self.proj(out.transpose(0, 2, 1, 3).reshape(len(x), -1))
        return projected


class RememberingTower(VisionModel):  # type: ignore[misc]  # mlx is untyped
    """A tower whose last output can be asked for: the model calls it deep inside and keeps nothing."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        tokens, deepstack = super().__call__(*args, **kwargs)
        self._last = tokens  # the underscore keeps it out of the parameters
        return tokens, deepstack


def last_tokens(tower: Any) -> mx.array:
    """[tokens, width]: what a quickened tower returned last."""
    tokens: mx.array = tower._last
    return tokens


def quicken(tower: Any) -> None:
    """Swap all of them into a vision tower, in place; its weights and their names stay."""
    tower.__class__ = RememberingTower
    for block in tower.blocks:
        block.mlp.act_fn = QuickGELU()
        block.attn.__class__ = EvenAttention
