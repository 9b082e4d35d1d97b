"""Idefics3 and SmolVLM: a picture becomes tiles and a small copy of the whole, words about rows and columns between."""

from pathlib import Path

from tests.support.families import made

TILE, PATCH, SCALE = 56, 14, 2
IMAGE, AROUND, END = "<image>", "<fake_token_around_image>", "<end_of_utterance>"
TILES = [f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)]


def make(folder: Path) -> Path:
    return _make(folder, "idefics3", "Idefics3", rope_theta=10000.0)


def make_smolvlm(folder: Path) -> Path:
    return _make(folder, "smolvlm", "SmolVLM", rope_theta=100000.0)


def _make(folder: Path, kind: str, name: str, *, rope_theta: float) -> Path:
    # Contents are lists here, of texts as well: that is how this family's templates read them.
    template = (
        "<|im_start|>{% for message in messages %}{{ message.role | capitalize }}: "
        "{% for part in message.content %}"
        "{% if part.type == 'text' %}{{ part.text }}{% elif part.type == 'image' %}<image>{% endif %}"
        "{% endfor %}" + END + "\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
    )
    tokenizer = made.tokenizer("<global-img>", *TILES, AROUND, IMAGE, END, template=template)
    ids = tokenizer.convert_tokens_to_ids
    config = {
        "model_type": kind,
        "image_token_id": ids(IMAGE),
        "vocab_size": len(tokenizer),
        "scale_factor": SCALE,
        "text_config": {**made.TEXT, "rope_theta": rope_theta, "model_type": "llama", "vocab_size": len(tokenizer)},
        "vision_config": {
            **made.TOWER, "model_type": f"{kind}_vision", "image_size": TILE, "patch_size": PATCH,
        },
    }  # fmt: skip
    images = {
        "image_processor_type": f"{name}ImageProcessor",
        "do_image_splitting": True,
        "size": {"longest_edge": 2 * TILE},
        "max_image_size": {"longest_edge": TILE},
        "resample": 1,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    processor = {"processor_class": f"{name}Processor", "image_seq_len": (TILE // PATCH // SCALE) ** 2}
    return made.write(folder, tokenizer, config, preprocessor_config=images, processor_config=processor)
