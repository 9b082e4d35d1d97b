"""Gemma 3: layers that see a window and layers that see all; its processor writes the tokens of a picture itself."""

from pathlib import Path

from tests.support.families import made

SIZE, PATCH, TOKENS = 56, 14, 16


def make(folder: Path) -> Path:
    template = (
        "{% for message in messages %}<|im_start|>{{ 'model' if message.role == 'assistant' else message.role }}\n"
        "{% if message.content is string %}{{ message.content | trim }}{% else %}{% for part in message.content %}"
        "{% if part.type == 'image' %}<start_of_image>{% else %}{{ part.text | trim }}{% endif %}{% endfor %}"
        "{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
    )
    tokenizer = made.tokenizer(
        image_token="<image_soft_token>", boi_token="<start_of_image>", eoi_token="<end_of_image>", template=template
    )
    text = {
        **made.TEXT, "model_type": "gemma3_text", "num_hidden_layers": 4, "head_dim": 16, "query_pre_attn_scalar": 16,
        "sliding_window": 32, "sliding_window_pattern": 2, "mm_tokens_per_image": TOKENS,
        "vocab_size": len(tokenizer),
    }  # fmt: skip
    config = {
        "model_type": "gemma3",
        "image_token_index": tokenizer.convert_tokens_to_ids("<image_soft_token>"),
        "pad_token_id": tokenizer.pad_token_id,
        "hidden_size": text["hidden_size"],
        "vocab_size": len(tokenizer),
        "mm_tokens_per_image": TOKENS,
        "text_config": text,
        "vision_config": {
            **made.TOWER, "model_type": "siglip_vision_model", "image_size": SIZE, "patch_size": PATCH,
        },
    }  # fmt: skip
    images = {"image_processor_type": "Gemma3ImageProcessor", "size": {"height": SIZE, "width": SIZE}}
    processor = {"processor_class": "Gemma3Processor", "image_seq_length": TOKENS}
    return made.write(folder, tokenizer, config, preprocessor_config=images, processor_config=processor)
