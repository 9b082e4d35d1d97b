"""A small seeded Whisper and a small seeded Pocket TTS, written as published ones are; and what mlx-audio itself makes
of sounds and texts with them."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten
from mlx_audio.stt.models.whisper import tokenizer as whisper_tokenizer
from mlx_audio.stt.models.whisper import whisper
from mlx_audio.stt.utils import load as load_stt
from mlx_audio.tts.models import pocket_tts
from mlx_audio.tts.utils import load as load_tts
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, WhisperFeatureExtractor

WORDS = 50_257
"""Tokens of a multilingual Whisper that are text. By how many follow it knows how many languages it has."""
VOCAB = 51_865
WHISPER = {
    "model_type": "whisper", "n_mels": 16, "n_audio_ctx": 1500, "n_audio_state": 16, "n_audio_head": 1,
    "n_audio_layer": 0, "n_vocab": VOCAB, "n_text_ctx": 24, "n_text_state": 16, "n_text_head": 1, "n_text_layer": 1,
}  # fmt: skip
HEARING_RATE = 16_000
VOICES = ["alba", "marius"]
SPEECH_RATE = 24_000
POCKET = {
    "model_type": "pocket_tts",
    # It never ends by itself, so a text of n words lasts n + 2 seconds.
    "eos_threshold": 1e9,
    "flow_lm": {
        "d_model": 16, "num_heads": 2, "num_layers": 1, "dim_feedforward": 32, "max_period": 10000, "n_bins": 256,
        "lut_dim": 16, "flow_dim": 16, "flow_depth": 1, "ldim": 4,
    },
    "mimi": {
        "channels": 1, "sample_rate": SPEECH_RATE, "frame_rate": 12.5, "dimension": 16, "quantizer_dimension": 4,
        "quantizer_output_dimension": 16, "n_filters": 2, "n_residual_layers": 1, "ratios": [12, 10, 8],
        "kernel_size": 3, "last_kernel_size": 3, "residual_kernel_size": 3, "dilation_base": 2, "compress": 2,
        "transformer_d_model": 16, "transformer_num_heads": 2, "transformer_num_layers": 1,
        "transformer_layer_scale": 0.01, "transformer_context": 16, "transformer_max_period": 10000,
        "transformer_dim_feedforward": 32,
    },
}  # fmt: skip


def make_whisper(folder: Path) -> Path:
    """Writes a random multilingual Whisper that is sure of what it writes, and returns its folder. Its words mean
    nothing, but depend on the sound."""
    folder.mkdir(parents=True, exist_ok=True)
    languages = [f"<|{code}|>" for code in list(whisper_tokenizer.LANGUAGES)[:99]]
    tasks = ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"]
    times = [f"<|{place * 0.02:.2f}|>" for place in range(1501)]
    tokenizer = bytes_and_words(WORDS)
    tokenizer.add_special_tokens(
        [AddedToken(mark, special=True) for mark in
         ("<|endoftext|>", "<|startoftranscript|>", *languages, *(f"<|{task}|>" for task in tasks), *times)]
    )  # fmt: skip
    end = "<|endoftext|>"
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=end, unk_token=end, pad_token=end, bos_token=end
    ).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=WHISPER["n_mels"]).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(WHISPER))
    mx.random.seed(0)
    model = whisper.Model(whisper.ModelDimensions.from_dict(WHISPER), mx.float32)
    weights = dict(tree_flatten(model.parameters()))
    # Words far above marks, else the rules for times leave nothing to draw.
    height = mx.concatenate([mx.full((WORDS, 1), 3.0), mx.full((VOCAB - WORDS, 1), 1.0)])
    weights["decoder.token_embedding.weight"] = height * mx.random.normal((VOCAB, 16))
    weights["decoder.positional_embedding"] = 6 * mx.random.normal(weights["decoder.positional_embedding"].shape)
    weights["decoder.blocks.0.cross_attn.out.weight"] *= 20
    return saved(folder, weights)


def make_pocket(folder: Path) -> Path:
    """Writes a random Pocket TTS with two voices, and returns its folder."""
    (folder / "voices").mkdir(parents=True, exist_ok=True)
    bytes_and_words(256).save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps(POCKET))
    mx.random.seed(0)
    model = pocket_tts.Model({**POCKET, "model_path": str(folder)})
    for name in VOICES:
        prompt = mx.random.normal((1, 5, 16))
        mx.save_safetensors(str(folder / "voices" / f"{name}.safetensors"), {"audio_prompt": prompt})
    weights = dict(tree_flatten(model.parameters()))
    weights["mimi.decoder.final_conv1d.conv.conv.weight"] *= 4e6
    return saved(folder, weights)


def bytes_and_words(count: int) -> Tokenizer:
    """A token for each byte, and behind them words that no text is taken apart into."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*alphabet, *(f"Ġw{place}" for place in range(len(alphabet), count))]
    tokenizer = Tokenizer(models.BPE(vocab={word: place for place, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def saved(folder: Path, weights: dict[str, mx.array]) -> Path:
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    return folder


def sweep(seconds: float, hertz: float = 300.0, rate: int = HEARING_RATE) -> np.ndarray:
    """float32 [samples]: a tone that rises, so that no two windows of it are alike."""
    times = np.arange(int(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * hertz * (1 + times / 10) * times)).astype(np.float32)


def library_hears(folder: Path, samples: np.ndarray, **options: Any) -> Any:
    """mlx-audio's own transcript."""
    model = load_stt(folder)
    mx.random.seed(0)
    return model.generate(mx.array(samples), **options)


def library_speaks(folder: Path, text: str, **options: Any) -> np.ndarray:
    """float32 [samples] as mlx-audio itself makes them, in one piece."""
    model = load_tts(folder)
    mx.random.seed(0)
    return np.concatenate([np.array(result.audio) for result in model.generate(text, **options)])
