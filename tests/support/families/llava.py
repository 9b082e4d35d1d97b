"""LLaVA: a CLIP encoder in front of a Llama, every picture the same number of tokens."""

from pathlib import Path

from tokenizers.processors import TemplateProcessing

from tests.support.families import made

SIZE, PATCH = 56, 14


def make(folder: Path) -> Path:
    # Contents are lists here, of texts as well: that is how this family's templates read them.
    template = (
        "{% for message in messages %}{{ message.role | upper }}: "
        "{% for part in message.content %}{% if part.type == 'image' %}<image>\n{% endif %}{% endfor %}"
        "{% for part in message.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}"
        "<|im_end|>{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
    )
    tokenizer = made.tokenizer("<s>", "<image>", template=template)
    # As Llama's does: its first token is not the template's to write.
    begin = tokenizer.convert_tokens_to_ids("<s>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<s> $A", special_tokens=[("<s>", begin)])
    tokenizer.bos_token = "<s>"
    config = {
        "model_type": "llava",
        "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
        "vocab_size": len(tokenizer),
        "text_config": {**made.TEXT, "model_type": "llama", "vocab_size": len(tokenizer)},
        "vision_config": {
            **made.TOWER, "model_type": "clip_vision_model", "image_size": SIZE, "patch_size": PATCH,
            "projection_dim": made.TEXT["hidden_size"],
        },
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
    }  # fmt: skip
    images = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": SIZE},
        "crop_size": {"height": SIZE, "width": SIZE},
    }
    processor = {
        "processor_class": "LlavaProcessor",
        "patch_size": PATCH,
        "num_additional_image_tokens": 1,
        "vision_feature_select_strategy": "default",
    }
    return made.write(folder, tokenizer, config, preprocessor_config=images, processor_config=processor)
