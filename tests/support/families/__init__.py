"""Tiny seeded models of the families that mlx-vlm loads, each in the files that its publishers write: one module for
each, and nothing that a network would be needed for."""

from collections.abc import Callable
from pathlib import Path

from tests.support.families import qwen2_vl

FAMILIES: dict[str, Callable[[Path], Path]] = {
    "qwen2_vl": qwen2_vl.make,
}
"""By mlx-vlm's name for it: makes the folder of a model and returns it."""
