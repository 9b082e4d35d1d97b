"""Qwen2-VL: pictures of any size, positions along three axes."""

from pathlib import Path

from tests.support.families import made

PATCH = 14


def make(folder: Path) -> Path:
    template = made.turns("<|vision_start|><|image_pad|><|vision_end|>")
    tokenizer = made.tokenizer(
        "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", template=template
    )
    ids = tokenizer.convert_tokens_to_ids
    config = {
        **made.TEXT,
        "model_type": "qwen2_vl",
        "vocab_size": len(tokenizer),
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
        "image_token_id": ids("<|image_pad|>"),
        "video_token_id": ids("<|video_pad|>"),
        "vision_start_token_id": ids("<|vision_start|>"),
        "vision_config": {
            "model_type": "qwen2_vl", "depth": 2, "embed_dim": 64, "hidden_size": 64, "num_heads": 2,
            "patch_size": PATCH, "spatial_patch_size": PATCH, "mlp_ratio": 2,
        },
    }  # fmt: skip
    processor = {
        "processor_class": "Qwen2VLProcessor",
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "patch_size": PATCH,
        "temporal_patch_size": 2,
        "merge_size": 2,
        # A token covers 28 x 28 pixels; 12 to 25 of them.
        "size": {"shortest_edge": 12 * 28**2, "longest_edge": 25 * 28**2},
    }
    return made.write(folder, tokenizer, config, preprocessor_config=processor)
