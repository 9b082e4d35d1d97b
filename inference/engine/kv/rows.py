"""The batch's KV, carried by mlx-lm's own batch caches: rows join by merging, leave by filtering."""

from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

Cache = list[Any]
"""One mlx-lm cache per layer."""


class Rows:
    """The caches of all running rows, one per layer, in the order in which the rows joined.

    A joining row is padded to the others' length and concatenated, a leaving one re-indexes the rest: both copy the
    whole batch.
    """

    def __init__(self) -> None:
        self.layers: Cache = []

    def join(self, caches: list[Cache]) -> None:
        """Adds rows that have prefilled, each with its own caches."""
        joined = [layer[0].merge(list(layer)) for layer in zip(*caches, strict=True)]
        if self.layers:
            for ours, theirs in zip(self.layers, joined, strict=True):
                ours.extend(theirs)
        else:
            self.layers = joined

    def keep(self, rows: list[int]) -> None:
        """Keeps only these rows, in this order."""
        if not rows:
            self.layers = []
        for layer in self.layers:
            layer.filter(mx.array(rows, mx.int32))

    def state(self) -> list[Any]:
        return [layer.state for layer in self.layers]


class SingleRow(Rows):
    """For models whose caches can't be merged: one row, with its own caches."""

    def join(self, caches: list[Cache]) -> None:
        if self.layers or len(caches) != 1:
            raise ValueError("This model's caches hold one row at a time.")
        self.layers = caches[0]

    def keep(self, rows: list[int]) -> None:
        if not rows:
            self.layers = []


def can_merge(model: Any) -> bool:
    """Whether every cache of this model can be a row of a batch."""
    return all(hasattr(cache, "merge") for cache in make_prompt_cache(model))
