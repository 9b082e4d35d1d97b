"""DeepSeek-VL2: a picture as a whole and in tiles, experts in the language model."""

from pathlib import Path

from tests.support.families import made

SIDE, PATCH = 56, 14
"""Of a tile, in pixels."""
MARKS = ["<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>", "<|grounding|>", "<|User|>", "<|Assistant|>"]


def make(folder: Path) -> Path:
    tokenizer = made.tokenizer("<image>", *MARKS, template=made.turns("<image>\n"))
    tokenizer.bos_token = "<|endoftext|>"
    width = made.TEXT["hidden_size"]
    config = {
        "model_type": "deepseek_vl_v2",
        "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
        "language_config": {
            "model_type": "deepseek_v2", "vocab_size": len(tokenizer), "hidden_size": width, "intermediate_size": 96,
            "moe_intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
            "n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2, "first_k_dense_replace": 1,
            "kv_lora_rank": 32, "q_lora_rank": None, "qk_rope_head_dim": 16, "qk_nope_head_dim": 16, "v_head_dim": 16,
            "max_position_embeddings": 2048,
        },
        "vision_config": {
            "model_type": "vision", "layers": 2, "width": 32, "intermediate_size": 64, "num_attention_heads": 2,
            "image_size": SIDE, "patch_size": PATCH, "mlp_ratio": 2.0,
        },
        "projector_config": {
            "projector_type": "downsample_mlp_gelu", "input_dim": 32, "n_embed": width, "depth": 2, "mlp_ratio": 1,
            "downsample_ratio": 2,
        },
        "tile_tag": "2D",
        "global_view_pos": "head",
    }  # fmt: skip
    processor = {
        "processor_class": "DeepseekVLV2Processor",
        "candidate_resolutions": [[SIDE, SIDE], [SIDE, 2 * SIDE], [2 * SIDE, SIDE]],
        "patch_size": PATCH,
        "downsample_ratio": 2,
        "image_token": "<image>",
        "pad_token": "<|endoftext|>",
    }
    return made.write(folder, tokenizer, config, processor_config=processor)
