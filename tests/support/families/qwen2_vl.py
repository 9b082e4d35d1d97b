"""Qwen2-VL: pictures of any size, positions along three axes."""

from pathlib import Path
from typing import Any

from tests.support.families import made

PATCH = 14
START, END, IMAGE, VIDEO = "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"


def make(folder: Path) -> Path:
    tower = {
        "model_type": "qwen2_vl", "depth": 2, "embed_dim": 64, "hidden_size": made.TEXT["hidden_size"], "num_heads": 2,
        "patch_size": PATCH, "spatial_patch_size": PATCH, "mlp_ratio": 2,
    }  # fmt: skip
    return make_qwen(folder, "qwen2_vl", tower, processor="Qwen2VLProcessor")


def make_qwen(folder: Path, kind: str, tower: dict[str, Any], *, processor: str) -> Path:
    """tower: its vision_config."""
    tokenizer = made.tokenizer(START, END, IMAGE, VIDEO, template=made.turns(START + IMAGE + END))
    ids = tokenizer.convert_tokens_to_ids
    config = {
        **made.TEXT,
        "model_type": kind,
        "vocab_size": len(tokenizer),
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
        "image_token_id": ids(IMAGE),
        "video_token_id": ids(VIDEO),
        "vision_start_token_id": ids(START),
        "vision_config": tower,
    }
    images = {
        "processor_class": processor,
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "patch_size": PATCH,
        "temporal_patch_size": 2,
        "merge_size": 2,
        # A token covers 28 × 28 pixels; 12 to 25 of them.
        "size": {"shortest_edge": 12 * 28**2, "longest_edge": 25 * 28**2},
    }
    return made.write(folder, tokenizer, config, preprocessor_config=images)
