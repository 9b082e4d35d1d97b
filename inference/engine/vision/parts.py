"""An encoder's layers in parts: short enough for others to take turns between, small enough for the memory planned.

Attention is done for some of the queries at a time, against all keys; a linear layer for some of the rows. So the
scores of a large picture, [heads, patches, patches], never exist as a whole. What is computed is the same, up to
rounding.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from time import perf_counter
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_vlm.models import base

from inference.engine.backend import has_gpu

SCORE_BYTES = 256 << 20
"""Of the scores of attention that exist at a time."""
FEWEST = 16
"""Rows in a part."""
CPU_RATE, GPU_RATE = 1e9, 1e12
"""Operations a second, before anything is known. Too low costs a few short parts, too high one long one."""
SLOWEST, FASTEST = 1e7, 1e15
FUSED_WIDTHS = (64, 80, 128)
"""Of heads, that MLX has a kernel of attention for."""

Kind = Enum("Kind", ["ATTENTION", "ROWS"])
"""Operations of attention take longer than those of linear layers, most of all on a CPU."""

_plain_attention = mx.fast.scaled_dot_product_attention
_plain_fused = base.ensure_fused_sdpa
_here = threading.local()


class Pace:
    """How fast this machine computes an encoder. seconds: from one breath to the next."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._rates = dict.fromkeys(Kind, GPU_RATE if has_gpu() else CPU_RATE)
        """Operations a second, as measured."""

    def expected(self, kind: Kind, operations: float) -> float:
        """Seconds that these take."""
        return operations / self._rates[kind]

    def observe(self, expected: dict[Kind, float], seconds: float) -> None:
        """These were expected, by what they are, and took so long together."""
        total = sum(expected.values())
        faster = total / max(seconds, 1e-6)
        for kind, part in expected.items():
            # What was too slow once must not be again; what was faster may have been luck.
            by = 1 + (faster - 1) * (part / total) * (1.0 if faster < 1 else 0.5)
            self._rates[kind] = min(max(self._rates[kind] * by, SLOWEST), FASTEST)


class Work:
    """One look at a picture. breathe: a turn of all others."""

    def __init__(self, pace: Pace, breathe: Callable[[], None] | None):
        self._pace = pace
        self._breathe = breathe
        self._expected: dict[Kind, float] = {}
        """Seconds of what is on its way since the last breath."""
        self._began = perf_counter()

    def rows(self, kind: Kind, count: int, each: float, bytes_each: int = 0) -> int:
        """How many of so many rows to compute at a time, where each takes so many operations, and bytes on the way.
        None may be all of them: windows at a picture's edge can be empty."""
        most = float(count)
        if self._breathe is not None and each:
            most = self._pace.seconds / self._pace.expected(kind, each)
        if bytes_each:
            most = min(most, SCORE_BYTES / bytes_each)
        return min(count, max(FEWEST, int(most)))

    def done(self, kind: Kind, answer: mx.array, operations: float, *, at_once: bool) -> None:
        """This part is on its way. at_once: it is one of several, and must not wait for the others."""
        self._expected[kind] = self._expected.get(kind, 0.0) + self._pace.expected(kind, operations)
        if self._breathe is None or sum(self._expected.values()) < 0.9 * self._pace.seconds:
            if at_once:
                mx.eval(answer)
            return
        mx.eval(answer)
        self._pace.observe(self._expected, perf_counter() - self._began)
        _here.work = None
        try:
            self._breathe()
        finally:
            _here.work = self
        self._expected.clear()
        self._began = perf_counter()


@contextmanager
def looking(pace: Pace, breathe: Callable[[], None] | None) -> Iterator[None]:
    """What this thread computes of prepared encoders within goes in parts."""
    _here.work = Work(pace, breathe)
    try:
        yield
    finally:
        _here.work = None


def prepare(encoder: nn.Module) -> None:
    """Gives each linear layer and convolution in it a class of its own, which works in parts for whoever is `looking`;
    and attention, to which there are two ways."""
    mx.fast.scaled_dot_product_attention = _attention
    for name, file in list(sys.modules.items()):
        if name.startswith("mlx_vlm.models.") and getattr(file, "ensure_fused_sdpa", None) is _plain_fused:
            file.ensure_fused_sdpa = _fused  # type: ignore[attr-defined]
    for module in encoder.modules():
        kind = type(module)
        if kind in _PARTED:
            module.__class__ = _PARTED[kind]


def _work() -> Work | None:
    return getattr(_here, "work", None)


def _attention(q: mx.array, k: mx.array, v: mx.array, **more: Any) -> mx.array:
    """As MLX's own: q [B, heads, queries, dim], k and v [B, KV heads, keys, dim]."""
    work = _work()
    if work is None:
        return _plain_attention(q, k, v, **more)
    batch, heads, queries, width = q.shape
    keys = k.shape[2]
    each = 4.0 * batch * heads * keys * width
    count = work.rows(Kind.ATTENTION, queries, each, batch * heads * keys * 4)
    if count >= queries:
        answer = _plain_attention(q, k, v, **more)
        work.done(Kind.ATTENTION, answer, each * queries, at_once=False)
        return answer
    try:
        mx.eval(q, k, v)
    except ValueError:
        # Within what MLX compiles nothing can be evaluated.
        return _plain_attention(q, k, v, **more)
    mask = more.pop("mask", None)
    parts = []
    for start in range(0, queries, count):
        end = min(start + count, queries)
        own = mask[..., start:end, :] if isinstance(mask, mx.array) and mask.shape[-2] == queries else mask
        parts.append(_plain_attention(q[:, :, start:end], k, v, mask=own, **more))
        work.done(Kind.ATTENTION, parts[-1], each * (end - start), at_once=True)
    return mx.concatenate(parts, axis=2)


def _fused(q: mx.array, k: mx.array, v: mx.array, scale: float, mask: mx.array | None = None) -> mx.array:
    """In place of mlx-vlm's, which MLX compiles, and whose padding for a GPU's kernel costs a CPU the double."""
    width = q.shape[-1]
    wide = next((known for known in FUSED_WIDTHS if width <= known), width) if has_gpu() else width
    if wide != width:
        q, k, v = (mx.pad(each, [(0, 0)] * (each.ndim - 1) + [(0, wide - width)]) for each in (q, k, v))
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=mask)[..., :width]


def _rows(plain: Callable[..., mx.array], module: Any, x: mx.array, each: float, axis: int) -> mx.array:
    work = _work()
    if work is None:
        return plain(module, x)
    total = x.size // x.shape[-1] if axis < 0 else x.shape[0]
    count = work.rows(Kind.ROWS, total, each)
    if count >= total:
        answer = plain(module, x)
        work.done(Kind.ROWS, answer, each * total, at_once=False)
        return answer
    flat = x.reshape(total, -1) if axis < 0 else x
    parts = []
    for start in range(0, total, count):
        part = flat[start : start + count]
        parts.append(plain(module, part))
        work.done(Kind.ROWS, parts[-1], each * part.shape[0], at_once=True)
    answer = mx.concatenate(parts)
    return answer.reshape(*x.shape[:-1], answer.shape[-1]) if axis < 0 else answer


def _parted(kind: type[Any]) -> type[Any]:
    plain = kind.__call__
    if issubclass(kind, nn.Conv2d | nn.Conv3d):

        def call(self: Any, x: mx.array) -> mx.array:
            # Its output is one number for each of its filters where it covers a patch, which is how encoders use it.
            return _rows(plain, self, x, 2.0 * self.weight.size * max(1, x[0].size // self.weight[0].size), 0)

    else:

        def call(self: Any, x: mx.array) -> mx.array:
            outputs = self.weight.shape[0]
            return _rows(plain, self, x, 2.0 * outputs * x.shape[-1], -1)

    return type(kind.__name__, (kind,), {"__call__": call})


_PARTED = {kind: _parted(kind) for kind in (nn.Linear, nn.QuantizedLinear, nn.Conv2d, nn.Conv3d)}
