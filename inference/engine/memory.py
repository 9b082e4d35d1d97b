"""How much memory there is for a model, and how much of it is in use: the one place that asks the backend."""

from dataclasses import dataclass

import mlx.core as mx
import psutil

from inference.engine.backend import has_gpu
from inference.engine.monitors.memory import MemoryReading, container_limit, host_reading
from inference.engine.options import Effective

RESERVE = 0.08
"""Share of the limit that is left for activations, buffers in flight and what MLX keeps for reuse."""


def limit() -> int:
    """Bytes for weights, caches and work in progress: Metal's recommended working set, a CUDA card's memory, or what
    the machine or its container has."""
    if has_gpu():
        info = mx.device_info()
        known = info.get("max_recommended_working_set_size") or info.get("memory_size") or info.get("total_memory")
        if known:
            return int(known)
    return container_limit(psutil.virtual_memory().total)


def reading() -> MemoryReading:
    """For the memory monitor."""
    if has_gpu():
        return MemoryReading(mx.get_active_memory(), limit())
    return host_reading()


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes for the slots of running rows, and for the prefix cache."""

    rows: int
    cache: int


def plan(effective: Effective, weights: int, total: int) -> Budget:
    """What is left of `total` bytes beside the weights, shared out: the prefix cache gets what its options say, but
    never more than half, and the rows the rest."""
    free = max(0, int(total * (1 - RESERVE)) - weights)
    if not effective.prefix_cache:
        return Budget(free, 0)
    cache = free // 2
    if effective.cache_share is not None:
        cache = min(cache, int(total * effective.cache_share))
    if effective.cache_bytes is not None:
        cache = min(cache, effective.cache_bytes)
    return Budget(free - cache, cache)
