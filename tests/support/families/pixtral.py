"""Pixtral: pictures of any size, their rows on lines of their own."""

from pathlib import Path

from tests.support.families import made

PATCH = 14


def make(folder: Path) -> Path:
    template = (
        "{% for message in messages %}{% if message.role == 'user' %}[INST]"
        "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
        "{% if part.type == 'image' %}[IMG]{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}[/INST]"
        "{% else %}{{ message.content }}<|im_end|>{% endif %}{% endfor %}"
    )
    tokenizer = made.tokenizer("[INST]", "[/INST]", "[IMG]", "[IMG_BREAK]", "[IMG_END]", template=template)
    # As in the model of this name, heads together are wider than the hidden states.
    text = {**made.TEXT, "model_type": "mistral", "head_dim": 32, "vocab_size": len(tokenizer)}
    config = {
        "model_type": "pixtral",
        "image_token_index": tokenizer.convert_tokens_to_ids("[IMG]"),
        "vocab_size": len(tokenizer),
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
        "text_config": text,
        "vision_config": {
            **made.TOWER, "model_type": "pixtral", "head_dim": 32, "image_size": 12 * PATCH, "patch_size": PATCH,
        },
    }  # fmt: skip
    images = {
        "image_processor_type": "PixtralImageProcessor",
        "size": {"longest_edge": 5 * PATCH},
        "patch_size": {"height": PATCH, "width": PATCH},
    }
    processor = {
        "processor_class": "PixtralProcessor", "patch_size": PATCH, "image_token": "[IMG]",
        "image_break_token": "[IMG_BREAK]", "image_end_token": "[IMG_END]",
    }  # fmt: skip
    return made.write(folder, tokenizer, config, preprocessor_config=images, processor_config=processor)
