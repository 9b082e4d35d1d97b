"""Loading a model by mlx-audio."""

from typing import Any

import mlx.core as mx
from mlx_audio.registry import model_type_from_config
from mlx_audio.stt.models.whisper.whisper import Model as Whisper
from mlx_audio.stt.utils import load as load_stt
from mlx_audio.tts.utils import load as load_tts
from mlx_audio.utils import get_model_name_parts, get_model_path, load_config

from inference.engine.audio.hearing import Transcriber, WhisperTranscriber
from inference.engine.audio.speaking import Synthesizer
from inference.engine.model import ModelError
from inference.engine.protocol import ModelKind


def load_audio_model(source: str, name: str, kind: ModelKind) -> tuple[Transcriber | Synthesizer, dict[str, Any]]:
    """Loads a folder or a Hugging Face id; the model and its configuration. Raises ModelError. To be called by the
    thread that will run it."""
    try:
        folder = get_model_path(source)
        config: dict[str, Any] = load_config(folder)
        # The library believes a folder's name before the file in it; only some speech models have nothing else.
        parts: list[str] = [] if model_type_from_config(config) else get_model_name_parts(source)
        model: Any = (load_stt if kind == "transcription" else load_tts)(folder, model_name_parts=parts)
        mx.eval(model.parameters())
        if kind == "speech":
            return Synthesizer(name, model, folder), config
        hears = WhisperTranscriber if isinstance(model, Whisper) else Transcriber
        return hears(name, model), config
    except FileNotFoundError as error:
        raise ModelError(f"{source}: {error}") from error
    except Exception as error:  # whatever a foreign model's files make its loaders raise
        raise ModelError(f"{source} can't be loaded as {kind} model: {type(error).__name__}: {error}") from error
