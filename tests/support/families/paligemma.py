"""PaliGemma: no conversations, and every token of a prompt sees all others."""

from pathlib import Path

from tests.support.families import made

SIZE, PATCH = 56, 14
TOKENS = (SIZE // PATCH) ** 2


def make(folder: Path) -> Path:
    tokenizer = made.tokenizer("<image>", "<bos>", template=None)
    tokenizer.bos_token = "<bos>"
    # Its processor gives it words for places and shapes, whether it has them or not.
    tokenizer.add_tokens([f"<loc{place:04}>" for place in range(1024)] + [f"<seg{shape:03}>" for shape in range(128)])
    text = {**made.TEXT, "model_type": "gemma", "num_image_tokens": TOKENS, "vocab_size": len(tokenizer)}
    config = {
        "model_type": "paligemma",
        "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
        "pad_token_id": tokenizer.pad_token_id,
        "hidden_size": text["hidden_size"],
        "vocab_size": len(tokenizer),
        "projection_dim": text["hidden_size"],
        "text_config": text,
        "vision_config": {
            **made.TOWER, "model_type": "siglip_vision_model", "image_size": SIZE, "patch_size": PATCH,
            "projection_dim": text["hidden_size"],
        },
    }  # fmt: skip
    images = {
        "image_processor_type": "SiglipImageProcessor",
        "size": {"height": SIZE, "width": SIZE},
        "image_seq_length": TOKENS,
    }
    return made.write(
        folder,
        tokenizer,
        config,
        preprocessor_config=images,
        processor_config={"processor_class": "PaliGemmaProcessor"},
    )
