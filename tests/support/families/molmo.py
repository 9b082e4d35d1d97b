"""Molmo: a picture before all text, in crops that overlap; its tokens have no mark in the prompt."""

from pathlib import Path

from tests.support.families import made

SIDE, PATCH = 112, 14
"""Of a crop, in pixels."""


def make(folder: Path) -> Path:
    tokenizer = made.tokenizer("<im_patch>", "<im_col>", "<im_start>", "<im_end>", template=made.turns(""))
    width = made.TEXT["hidden_size"]
    config = {
        "model_type": "molmo",
        "text_config": {
            "model_type": "molmo", "d_model": width, "n_heads": 4, "n_kv_heads": 2, "n_layers": 2,
            "mlp_hidden_size": 192, "vocab_size": len(tokenizer), "embedding_size": len(tokenizer),
            "additional_vocab_size": 8, "max_position_embeddings": 2048, "rope_theta": 10000.0,
        },
        "vision_config": {
            "model_type": "molmo", "image_default_input_size": [SIDE, SIDE], "image_patch_size": PATCH,
            "hidden_size": 96, "image_emb_dim": 32, "image_num_heads": 2, "image_num_key_value_heads": 2,
            "image_num_layers": 3, "image_head_dim": 16, "image_mlp_dim": 64, "d_model": width, "vit_layers": [-1, -3],
            "image_num_pos": (SIDE // PATCH) ** 2 + 1,
        },
    }  # fmt: skip
    processor = {
        "processor_class": "MolmoProcessor",
        "max_crops": 2,
        "overlap_margins": [2, 2],
        "base_image_input_size": [SIDE, SIDE],
        "image_token_length_w": SIDE // PATCH // 2,
        "image_token_length_h": SIDE // PATCH // 2,
        "image_patch_size": PATCH,
    }
    return made.write(folder, tokenizer, config, preprocessor_config=processor)
