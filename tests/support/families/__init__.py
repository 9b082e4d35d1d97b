"""Tiny seeded models of the families that mlx-vlm loads, each in the files that its publishers write: one module for
each, and nothing that a network would be needed for."""

from collections.abc import Callable
from pathlib import Path

from tests.support.families import (
    deepseek_vl2,
    gemma3,
    gemma4,
    idefics3,
    llava,
    molmo,
    paligemma,
    pixtral,
    qwen2_5_vl,
    qwen2_vl,
)

FAMILIES: dict[str, Callable[[Path], Path]] = {
    "qwen2_vl": qwen2_vl.make,
    "qwen2_5_vl": qwen2_5_vl.make,
    "llava": llava.make,
    "idefics3": idefics3.make,
    "smolvlm": idefics3.make_smolvlm,
    "gemma3": gemma3.make,
    "pixtral": pixtral.make,
    "paligemma": paligemma.make,
    "molmo": molmo.make,
    "deepseek_vl_v2": deepseek_vl2.make,
    "gemma4": gemma4.make,
}
"""By mlx-vlm's name for it: makes the folder of a model and returns it. Phi-3 Vision (`phi3_v`) has conditions."""

BATCHED = ("qwen2_vl", "qwen2_5_vl", "llava", "idefics3", "smolvlm", "gemma3", "pixtral")
"""Those whose rows share a batch; the others run one at a time."""
