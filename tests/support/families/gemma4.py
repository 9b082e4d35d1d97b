"""Gemma 4: it sees and hears; windows in every other layer, and inputs of their own for each layer."""

from pathlib import Path

from tests.support.families import made

PATCH = 16
TEMPLATE = made.turns("<|image|>").replace(
    "{% else %}{{ part.text }}", "{% elif part.type == 'audio' %}<|audio|>{% else %}{{ part.text }}"
)


def make(folder: Path) -> Path:
    tokenizer = made.tokenizer(
        template=TEMPLATE, image_token="<|image|>", boi_token="<|image>", eoi_token="<image|>",
        audio_token="<|audio|>", boa_token="<|audio>", eoa_token="<audio|>", video_token="<|video|>",
    )  # fmt: skip
    ids = tokenizer.convert_tokens_to_ids
    width = made.TEXT["hidden_size"]
    vocab = len(tokenizer)
    config = {
        "model_type": "gemma4",
        "vocab_size": vocab,
        "hidden_size": width,
        "image_token_id": ids("<|image|>"), "boi_token_id": ids("<|image>"), "eoi_token_id": ids("<image|>"),
        "audio_token_id": ids("<|audio|>"), "boa_token_id": ids("<|audio>"), "eoa_token_id": ids("<audio|>"),
        "text_config": {
            "model_type": "gemma4_text", "hidden_size": width, "num_hidden_layers": 4, "intermediate_size": 96,
            "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 16, "global_head_dim": 32,
            "vocab_size": vocab, "vocab_size_per_layer_input": vocab, "hidden_size_per_layer_input": 16,
            "num_kv_shared_layers": 2, "sliding_window": 32, "sliding_window_pattern": 2,
            "max_position_embeddings": 2048,
        },
        "vision_config": {
            "model_type": "gemma4_vision", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16, "global_head_dim": 16,
            "patch_size": PATCH, "default_output_length": 16,
        },
        "audio_config": {
            "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "subsampling_conv_channels": [8, 4],
            "output_proj_dims": 32,
        },
    }  # fmt: skip
    processor = {
        "processor_class": "Gemma4Processor",
        "image_processor": {"patch_size": PATCH, "max_soft_tokens": 16, "pooling_kernel_size": 3},
        "feature_extractor": {"sampling_rate": 16000},
        "audio_ms_per_token": 40,
    }
    return made.write(folder, tokenizer, config, processor_config=processor)
