"""Speech models: a text in, a file of sound out, as mlx-audio speaks it."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from inference.engine.audio.encoding import Encoding
from inference.engine.audio.job import AudioJob, Pieces
from inference.engine.kinds import mismatch
from inference.engine.prepare import Refusal
from inference.engine.protocol import AudioDelta, ModelKind, Request, Speak

PIECE_SECONDS = 0.5
"""Of sound, about, that models say at a stretch which can."""
VOICES = ("voices", "embeddings", "voice_embedding")
"""Folders of a model with a file for each voice."""
SUFFIXES = (".safetensors", ".npy", ".npz", ".pt", ".json")


class Synthesizer:
    """A loaded model. Such models keep something of a text between two steps, so texts are spoken one after the other.

    To be run by the thread that loaded it.  voices: that requests may name. Libraries take more for a voice, addresses
    and paths among it, which are not for requests.
    """

    kind: ClassVar[ModelKind] = "speech"
    interleaves = False
    alone = "texts are spoken one after the other"

    def __init__(self, name: str, model: Any, folder: Path) -> None:
        self.name = name
        self.model = model
        self.voices = voices_of(model, folder)
        self._takes = set(inspect.signature(model.generate).parameters)

    def check(self, request: Request) -> Speak:
        """Raises Refusal for what it can't do. Called by several threads."""
        if not isinstance(request, Speak):
            raise mismatch(self.name, self.kind, request)
        if request.voice and request.voice not in self.voices:
            known = ", ".join(self.voices) or "default"
            raise Refusal("invalid_prompt", f"voice: {self.name} has {known}, but no such voice.", "voice")
        if request.instructions and "instruct" not in self._takes:
            raise Refusal("invalid_prompt", f"instructions: {self.name} takes none; leave them out.", "instructions")
        return request

    def begin(self, job: AudioJob) -> Pieces:
        request = self.check(job.request)
        encoding: Encoding | None = None
        for samples, rate in self._spoken(request):
            # Of a text that is cut short, all of it has been read.
            job.done = 1.0
            encoding = encoding or Encoding(request.format, rate, speed=request.speed)
            data = encoding.add(samples)
            yield [AudioDelta(request.id, data)] if data else []
        if encoding is None:
            raise ValueError("the model said nothing")
        yield [AudioDelta(request.id, encoding.end())]

    def _spoken(self, request: Speak) -> Iterator[tuple[npt.NDArray[np.float32], int]]:
        """Samples, [samples], and their rate in hertz."""
        options: dict[str, Any] = {}
        if request.voice:
            options["voice"] = request.voice
        if request.instructions:
            options["instruct"] = request.instructions
        if {"stream", "streaming_interval"} <= self._takes:
            options |= {"stream": True, "streaming_interval": PIECE_SECONDS}
        for result in self.model.generate(request.text, **options):
            samples = np.array(result.audio, dtype=np.float32).reshape(-1)
            if samples.size:
                yield np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0), int(result.sample_rate)


def voices_of(model: Any, folder: Path) -> list[str]:
    """The names of those that come with the model; empty for one that has a single voice, or tells of none."""
    supported = getattr(model, "get_supported_speakers", None)
    known = supported() if callable(supported) else getattr(getattr(model, "config", None), "speakers", None)
    if known:
        return sorted(str(name) for name in known)
    files = [file for name in VOICES for file in (folder / name).glob("*") if file.suffix in SUFFIXES]
    return sorted({file.stem for file in files})
