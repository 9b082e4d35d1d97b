"""Qwen2.5-VL: as Qwen2-VL, with an encoder that looks at most of a picture in windows."""

from pathlib import Path

from tests.support.families import made
from tests.support.families.qwen2_vl import PATCH, make_qwen


def make(folder: Path) -> Path:
    tower = {
        "model_type": "qwen2_5_vl", "depth": 2, "hidden_size": 64, "intermediate_size": 96, "num_heads": 2,
        "out_hidden_size": made.TEXT["hidden_size"], "patch_size": PATCH, "spatial_patch_size": PATCH,
        "window_size": 4 * PATCH, "fullatt_block_indexes": [1],
    }  # fmt: skip
    return make_qwen(folder, "qwen2_5_vl", tower, processor="Qwen2_5_VLProcessor")
