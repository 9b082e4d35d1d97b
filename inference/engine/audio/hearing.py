"""Transcription models: a sound in, its text out, as mlx-audio hears it."""

import inspect
import sys
from collections.abc import Generator
from typing import Any, ClassVar

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx_audio.stt.models.whisper.tokenizer import LANGUAGES
from mlx_audio.stt.models.whisper.whisper import Model as Whisper

from inference.engine.audio.job import AudioJob, Piece, Pieces
from inference.engine.audio.stepwise import pause, stepwise
from inference.engine.kinds import mismatch
from inference.engine.prepare import Refusal
from inference.engine.protocol import ModelKind, Request, Segment, Transcribe, Transcribed, TranscriptDelta, Word

RATE = 16_000
"""Hertz, that models of speech hear."""
PROMPTS = ("initial_prompt", "context")
"""What models call a text that may have gone before."""
SCORES = ("temperature", "avg_logprob", "compression_ratio", "no_speech_prob")


class Transcriber:
    """A loaded model that is run in one piece: nobody else has a turn before a sound has been heard.

    To be run by the thread that loaded it.
    """

    kind: ClassVar[ModelKind] = "transcription"
    interleaves = False
    alone = "the model hears a sound in one piece"
    languages: frozenset[str] | None = None
    """That it knows, by ISO 639-1; None: it takes any, or none at all."""

    def __init__(self, name: str, model: Any) -> None:
        self.name = name
        self.model = model
        self.voices: list[str] = []
        self._takes = set(inspect.signature(model.generate).parameters)

    def check(self, request: Request) -> Transcribe:
        """Raises Refusal for what it can't do. Called by several threads."""
        if not isinstance(request, Transcribe):
            raise mismatch(self.name, self.kind, request)
        if request.language is not None and not self.knows(request.language):
            raise _refusal("language", f"{self.name} does not know this language; leave it out, or name another.")
        if request.prompt and self._prompt is None:
            raise _refusal("prompt", f"{self.name} takes no prompt; leave it out.")
        if request.temperature and "temperature" not in self._takes:
            raise _refusal("temperature", f"{self.name} draws nothing; leave it out.")
        if request.words and "word_timestamps" not in self._takes:
            raise _refusal("timestamp_granularities[]", f"{self.name} has no times of words; ask for segments.")
        if request.task == "translate" and not self.translates:
            raise _refusal("model", f"{self.name} does not translate; ask one that does, or transcribe.")
        return request

    def knows(self, language: str) -> bool:
        return "language" in self._takes if self.languages is None else language in self.languages

    @property
    def translates(self) -> bool:
        return "task" in self._takes

    @property
    def _prompt(self) -> str | None:
        return next((name for name in PROMPTS if name in self._takes), None)

    def begin(self, job: AudioJob) -> Pieces:
        request = self.check(job.request)
        assert job.samples is not None
        heard = yield from self._hear(job, request, job.samples)
        yield [_transcribed(request, heard, job.samples.size / RATE)]

    def _hear(
        self, job: AudioJob, request: Transcribe, samples: npt.NDArray[np.float32]
    ) -> Generator[list[Piece], None, Any]:
        """What the library says of the sound; yields what may be said before it is done."""
        said = self.model.generate(mx.array(samples), **self._options(request))
        yield _rest(request, "", _text(said))
        return said

    def _options(self, request: Transcribe) -> dict[str, Any]:
        """Only what was asked for: the library's own defaults hold for the rest."""
        options: dict[str, Any] = {}
        if request.language is not None:
            options["language"] = request.language
        if request.prompt and self._prompt is not None:
            options[self._prompt] = request.prompt
        if request.temperature:
            options["temperature"] = request.temperature
        if request.words:
            options["word_timestamps"] = True
        if request.task == "translate":
            options["task"] = "translate"
        return options


class WhisperTranscriber(Transcriber):
    """Whisper hears a window of 30 seconds after the other, and draws again where it is not sure: each draw is a step.

    What mlx-audio has of a sound between two of them is in variables of its `generate`, where `_listen` finds it.
    """

    interleaves = True
    alone = "sounds are heard in turns, window by window"

    def __init__(self, name: str, model: Whisper) -> None:
        super().__init__(name, model)
        self.languages = frozenset(LANGUAGES) if model.is_multilingual else frozenset({"en"})
        self._state: dict[str, Any] = {}
        decode = model.decode

        def listen(*arguments: Any, **options: Any) -> Any:
            self._state = _variables_of("generate")
            pause()
            return decode(*arguments, **options)

        model.decode = listen

    @property
    def translates(self) -> bool:
        return bool(self.model.is_multilingual)

    def _hear(
        self, job: AudioJob, request: Transcribe, samples: npt.NDArray[np.float32]
    ) -> Generator[list[Piece], None, Any]:
        steps = stepwise(lambda: self.model.generate(mx.array(samples), **self._options(request)))
        said = ""
        try:
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    yield _rest(request, said, _text(end.value))
                    return end.value
                state, self._state = self._state, {}
                frames = state.get("content_frames", 0)
                job.done = state.get("seek", 0) / frames if frames else 0.0
                text = "".join(segment["text"] for segment in state.get("all_segments", ())).strip()
                piece = _rest(request, said, text)
                said = text if piece else said
                yield piece
        finally:
            steps.close()


def _variables_of(function: str) -> dict[str, Any]:
    """Of the nearest caller of this name; empty where there is none."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != function:
        frame = frame.f_back  # type: ignore[assignment]
    return dict(frame.f_locals) if frame is not None else {}


def _rest(request: Transcribe, said: str, text: str) -> list[Piece]:
    """What is to be said of a text of which this much has been said."""
    more = text[len(said) :]
    return [TranscriptDelta(request.id, more)] if request.stream and more and text.startswith(said) else []


def _text(heard: Any) -> str:
    return str(heard.text).strip()


def _transcribed(request: Transcribe, heard: Any, seconds: float) -> Transcribed:
    language = str(getattr(heard, "language", None) or "")
    segments = [_fields(each) for each in getattr(heard, "segments", None) or getattr(heard, "sentences", None) or []]
    return Transcribed(
        request.id,
        _text(heard),
        LANGUAGES.get(language, language.lower()),
        seconds,
        [_segment(each) for each in segments] or [Segment(0.0, seconds, _text(heard))],
        [
            Word(str(word["word"]).strip(), _finite(word["start"]), _finite(word["end"]))
            for segment in segments
            for word in segment.get("words") or []
            if request.words
        ],
    )


def _fields(segment: Any) -> dict[str, Any]:
    return segment if isinstance(segment, dict) else vars(segment)


def _segment(said: dict[str, Any]) -> Segment:
    return Segment(
        start=_finite(said.get("start")),
        end=_finite(said.get("end")),
        text=str(said.get("text", "")),
        tokens=[token for token in said.get("tokens") or [] if isinstance(token, int)],
        seek=int(said.get("seek") or 0),
        **{score: _finite(said.get(score)) for score in SCORES},
    )


def _finite(value: Any) -> float:
    """JSON has no other numbers."""
    number = float(value or 0.0)
    return number if np.isfinite(number) else 0.0


def _refusal(param: str, message: str) -> Refusal:
    return Refusal("invalid_prompt", f"{param}: {message}", param)
