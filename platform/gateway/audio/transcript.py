"""How a transcript is worded: as JSON, as text, as subtitles, and as the events of a stream."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from gateway.answers import encode
from gateway.audio.form import ResponseFormat
from gateway.generation import Step
from inference.engine import protocol
from inference.engine.protocol import Tally, Transcribed, TranscriptDelta

JSON, TEXT = b"application/json", b"text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Wish:
    task: Literal["transcribe", "translate"]
    format: ResponseFormat
    granularities: tuple[str, ...]


class Duration(Struct, kw_only=True):
    type: Literal["duration"] = "duration"
    seconds: int
    """Of the sound, begun ones included."""


class Transcription(Struct, kw_only=True):
    text: str
    usage: Duration


class Segment(Struct, kw_only=True):
    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


class Word(Struct, kw_only=True):
    word: str
    start: float
    end: float


class VerboseTranscription(Struct, kw_only=True):
    task: Literal["transcribe", "translate"]
    language: str
    """In English; empty where the model did not tell."""
    duration: float
    text: str
    segments: list[Segment] | UnsetType = UNSET
    words: list[Word] | UnsetType = UNSET
    usage: Duration


class TextDelta(Struct, kw_only=True):
    type: Literal["transcript.text.delta"] = "transcript.text.delta"
    delta: str


class TokenUsage(Struct, kw_only=True):
    type: Literal["tokens"] = "tokens"
    input_tokens: int
    output_tokens: int
    total_tokens: int


class TextDone(Struct, kw_only=True):
    type: Literal["transcript.text.done"] = "transcript.text.done"
    text: str
    usage: TokenUsage


def tokens_of(tally: Tally) -> TokenUsage:
    return TokenUsage(
        input_tokens=tally.prompt_tokens,
        output_tokens=tally.completion_tokens,
        total_tokens=tally.prompt_tokens + tally.completion_tokens,
    )


def worded(heard: Transcribed, wish: Wish) -> tuple[bytes, bytes]:
    """Content type and body."""
    match wish.format:
        case "json":
            return JSON, encode(Transcription(text=heard.text, usage=_duration(heard)))
        case "verbose_json":
            return JSON, encode(_verbose(heard, wish))
        case "text":
            return TEXT, f"{heard.text}\n".encode()
        case "srt":
            return TEXT, _subtitles(heard, _srt).encode()
        case "vtt":
            return TEXT, ("WEBVTT\n\n" + _subtitles(heard, _vtt)).encode()


def events_of(step: Step, result: object) -> list[TextDelta | TextDone]:
    said: list[TextDelta | TextDone] = [
        TextDelta(delta=piece.text) for piece in step.pieces if isinstance(piece, TranscriptDelta)
    ]
    if step.finished is not None:
        assert isinstance(result, Transcribed)
        said.append(TextDone(text=result.text, usage=tokens_of(step.finished.tally)))
    return said


def _duration(heard: Transcribed) -> Duration:
    return Duration(seconds=math.ceil(heard.seconds))


def _verbose(heard: Transcribed, wish: Wish) -> VerboseTranscription:
    segments = [
        Segment(
            id=place,
            seek=each.seek,
            start=each.start,
            end=each.end,
            text=each.text,
            tokens=each.tokens,
            temperature=each.temperature,
            avg_logprob=each.avg_logprob,
            compression_ratio=each.compression_ratio,
            no_speech_prob=each.no_speech_prob,
        )
        for place, each in enumerate(heard.segments)
    ]
    return VerboseTranscription(
        task=wish.task,
        # What is translated is English.
        language="english" if wish.task == "translate" else heard.language,
        duration=heard.seconds,
        text=heard.text,
        segments=segments if "segment" in wish.granularities else UNSET,
        words=[Word(word=each.word, start=each.start, end=each.end) for each in heard.words]
        if "word" in wish.granularities
        else UNSET,
        usage=_duration(heard),
    )


def _subtitles(heard: Transcribed, cue: Callable[[int, protocol.Segment, str], str]) -> str:
    shown = [(each, " ".join(each.text.split())) for each in heard.segments]
    # An arrow would end a cue's times, an empty line the cue.
    cues = [(each, text.replace("-->", "->")) for each, text in shown if text]
    return "".join(cue(place, each, text) for place, (each, text) in enumerate(cues, 1))


def _srt(place: int, segment: protocol.Segment, text: str) -> str:
    return f"{place}\n{_clock(segment.start, ',')} --> {_clock(segment.end, ',')}\n{text}\n\n"


def _vtt(place: int, segment: protocol.Segment, text: str) -> str:
    return f"{_clock(segment.start, '.')} --> {_clock(segment.end, '.')}\n{text}\n\n"


def _clock(seconds: float, point: str) -> str:
    thousandths = round(max(0.0, seconds) * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{point}{rest % 1000:03}"
