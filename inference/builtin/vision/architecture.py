"""The model's shape and everything in its folder but the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from inference.builtin.vision.tokenizer import (
    END_OF_TEXT,
    IMAGE_PAD,
    SPECIALS,
    TURN_END,
    VIDEO_PAD,
    VISION_END,
    VISION_START,
    VOCABULARY,
)

NAME = "atelier-tiny-vl"
FOLDER = Path(__file__).resolve().parents[1] / "models" / NAME
PATCH = 12  # pixels; a token covers 2 × 2 patches, 24 × 24 pixels

CHAT_TEMPLATE = """\
{%- macro render(content) -%}
{%- if content is string -%}{{ content }}
{%- elif content is not none -%}
{%- for part in content -%}
{%- if part is string -%}{{ part }}
{%- elif part.type in ('image', 'image_url', 'input_image') or 'image' in part or 'image_url' in part -%}
<|vision_start|><|image_pad|><|vision_end|>
{%- elif part.type in ('video', 'video_url', 'input_video') or 'video' in part -%}
<|vision_start|><|video_pad|><|vision_end|>
{%- elif 'text' in part -%}{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' + render(message.content) + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""


def model_config() -> dict[str, Any]:
    """config.json: a Qwen3-VL of 1.9 million parameters with two deepstack levels and tied embeddings."""
    ids = {token: index for index, token in enumerate(SPECIALS)}
    ends = [ids[TURN_END], ids[END_OF_TEXT]]
    text = {
        "model_type": "qwen3_vl_text",
        "hidden_size": 128,
        "num_hidden_layers": 4,
        "intermediate_size": 320,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "hidden_act": "silu",
        "attention_bias": False,
        "rms_norm_eps": 1e-6,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 4096,
        "rope_theta": 10000.0,
        # Of the 16 rotations of a head: time, height, width, interleaved as Qwen3-VL does.
        "rope_scaling": {"rope_type": "default", "mrope_section": [6, 5, 5], "mrope_interleaved": True},
        "tie_word_embeddings": True,
        "eos_token_id": ends,
    }
    vision = {
        "model_type": "qwen3_vl",
        "depth": 4,
        "hidden_size": 96,
        "intermediate_size": 384,
        "num_heads": 3,
        "hidden_act": "gelu_pytorch_tanh",
        "in_channels": 3,
        "patch_size": PATCH,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "num_position_embeddings": 144,
        "deepstack_visual_indexes": [1, 2],
        "out_hidden_size": text["hidden_size"],
    }
    return {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "model_type": "qwen3_vl",
        "text_config": text,
        "vision_config": vision,
        "image_token_id": ids[IMAGE_PAD],
        "video_token_id": ids[VIDEO_PAD],
        "vision_start_token_id": ids[VISION_START],
        "vision_end_token_id": ids[VISION_END],
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": True,
        "dtype": "float32",
        "eos_token_id": ends,
        "pad_token_id": ids[END_OF_TEXT],
    }


def write_folder(folder: Path, tokenizer: Tokenizer) -> None:
    """Write what `mlx_vlm.load` wants beside model.safetensors. Overwrites."""
    folder.mkdir(parents=True, exist_ok=True)
    config = model_config()
    _write(folder / "config.json", config)
    _write(
        folder / "generation_config.json",
        {"do_sample": False, "eos_token_id": config["eos_token_id"], "pad_token_id": config["pad_token_id"]},
    )
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": TURN_END,
            "pad_token": END_OF_TEXT,
            "bos_token": None,
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": config["text_config"]["max_position_embeddings"],
        },
    )
    common = {
        "patch_size": PATCH,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "do_convert_rgb": True,
        "processor_class": "Qwen3VLProcessor",
    }
    # Every picture is brought to about 16 to 25 tokens: a large one costs no more than those it was trained on.
    sizes = {"shortest_edge": 96 * 96, "longest_edge": 120 * 120}
    _write(
        folder / "preprocessor_config.json",
        common | {"image_processor_type": "Qwen2VLImageProcessorFast", "size": sizes},
    )
    # A video's limits count the pixels of all its frames.
    sizes = {"shortest_edge": 2 * 72 * 72, "longest_edge": 8 * 96 * 96}
    _write(
        folder / "video_preprocessor_config.json",
        common
        | {
            "video_processor_type": "Qwen3VLVideoProcessor",
            "size": sizes,
            "fps": 2.0,
            "min_frames": 2,
            "max_frames": 8,
        },
    )
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    tokenizer.save(str(folder / "tokenizer.json"))


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
