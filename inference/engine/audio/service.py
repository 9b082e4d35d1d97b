"""Puts an audio engine together: a loaded model and its options become a core and what intake needs."""

import math
from collections.abc import Sequence
from typing import cast

from inference.engine import memory, protocol
from inference.engine.audio.core import AudioCore
from inference.engine.audio.hearing import RATE, Transcriber
from inference.engine.audio.job import TOKENS_PER_SECOND, AudioJob
from inference.engine.audio.speaking import Synthesizer
from inference.engine.kinds import mismatch
from inference.engine.media.decoder import Decoder, Sound
from inference.engine.media.errors import MediaError
from inference.engine.monitors.memory import MemoryMonitor
from inference.engine.options import EngineOptions
from inference.engine.output import Output
from inference.engine.prepare import Refusal, decoder
from inference.engine.reception import Prepared

LONGEST_TEXT = 4096
"""Characters of a text to be spoken, as OpenAI has it."""


class AudioReception:
    """timeout: seconds, None for no limit."""

    def __init__(self, model: Transcriber | Synthesizer, timeout: float | None) -> None:
        self._model = model
        self._timeout = timeout

    def needs_time(self, request: protocol.Request) -> bool:
        return isinstance(request, protocol.Transcribe)

    def prepare(self, client: bytes, request: protocol.Request) -> Prepared:
        checked = self._model.check(request)
        if isinstance(checked, protocol.Transcribe):
            sound = _sound(decoder(), checked.sound)
            # The file itself is needed no more.
            checked.sound = protocol.Media(b"")
            tokens = math.ceil(sound.seconds * TOKENS_PER_SECOND)
            job = AudioJob(checked, client, tokens, sound.samples)
        else:
            job = AudioJob(checked, client, len(checked.text))
        if self._timeout is not None:
            job.deadline = job.received + self._timeout
        return Prepared(job.prompt_tokens, [job])

    def share(self, client: bytes, texts: Sequence[protocol.SharedText]) -> list[tuple[int, ...]]:
        """Nothing: it has no prefix cache."""
        return []

    def count(self, request: protocol.Generate) -> int:
        raise mismatch(self._model.name, self._model.kind, request)


def longest(model: Transcriber | Synthesizer) -> int:
    """What a request may bring at most, in the tokens that it counts for."""
    return int(decoder().limits.audio_seconds * TOKENS_PER_SECOND) if model.kind == "transcription" else LONGEST_TEXT


def assemble(
    model: Transcriber | Synthesizer, options: EngineOptions, output: Output
) -> tuple[AudioCore, AudioReception]:
    """To be called by the thread that will run the core."""
    core = AudioCore(model, output, memory=MemoryMonitor(options, memory.reading), max_waiting=options.max_waiting)
    return core, AudioReception(model, options.timeout)


def _sound(decoder: Decoder, media: protocol.Media) -> Sound:
    """Raises Refusal."""
    try:
        return decoder.audio(media.data, RATE)
    except MediaError as error:
        code = cast(protocol.FailureCode, error.code)
        raise Refusal(code, f"`{media.where}`: {error.message}", media.where) from None
