"""An audio engine in the test's own process, driven step by step: steps, turns, endings."""

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.engine.audio.job import AudioJob
from inference.engine.audio.load import load_audio_model
from inference.engine.audio.service import assemble
from inference.engine.audio.stepwise import pause, stepwise
from inference.engine.kinds import kind_of
from inference.engine.model import ModelError
from inference.engine.options import make
from inference.engine.output import Conclude, Say
from inference.engine.prepare import Refusal
from inference.engine.protocol import (
    AudioDelta,
    Begun,
    Embed,
    Event,
    Failed,
    Finished,
    FirstToken,
    Generate,
    Media,
    Speak,
    Transcribe,
    Transcribed,
    TranscriptDelta,
)
from tests.support.audio_made import VOICES, library_hears, library_speaks, make_pocket, make_whisper, sweep
from tests.support.media_made import sound

CLIENT = b"client"
WINDOWS = 70.0
"""Seconds of a sound of three windows."""


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whisper(tmp_path_factory.mktemp("hears") / "made")


@pytest.fixture(scope="module")
def pocket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pocket(tmp_path_factory.mktemp("speaks") / "made")


class Engine:
    """The real core, driven step by step; what it says is kept in the place of the output thread, which needs
    sockets."""

    def __init__(self, folder: Path, **options: Any):
        self.model, _ = load_audio_model(str(folder), "made", kind_of(str(folder)))
        self.core, self.reception = assemble(self.model, make(options), self)  # type: ignore[arg-type]
        self.said: dict[str, list[Event]] = {}

    def put(self, item: Say | Conclude) -> None:
        events = [item.event] if isinstance(item, Say) else [*item.events, item.end]
        for event in events:
            self.said.setdefault(event.id, []).append(event)  # type: ignore[union-attr]

    def submit(self, request: Transcribe | Speak) -> AudioJob:
        [job] = self.reception.prepare(CLIENT, request).work
        assert isinstance(job, AudioJob)
        self.core.submit(job)
        return job

    def tick(self) -> bool:
        self.core._inbox.put(None)  # ends the loop's wait for more
        self.core._receive()
        if self.core._live:
            self.core.step()
        return bool(self.core._live)

    def finish(self) -> int:
        """Runs until everyone has ended; in how many steps."""
        steps = 1
        while self.tick():
            steps += 1
            assert steps < 1000
        return steps


@pytest.fixture(scope="module")
def hearing(whisper: Path) -> Engine:
    return Engine(whisper)


@pytest.fixture(scope="module")
def speaking(pocket: Path) -> Engine:
    return Engine(pocket)


def heard(id: str, seconds: float = 2.0, *, user: str = "u", **fields: Any) -> Transcribe:
    data = sound("wav", "pcm_f32le", sweep(seconds)[None])
    return Transcribe(id, Media(data, "file"), user=user, **fields)


def transcript(engine: Engine, id: str) -> Transcribed:
    *_, answer, end = engine.said[id]
    assert isinstance(answer, Transcribed) and isinstance(end, Finished) and end.reason == "stop"
    return answer


# --- hearing ---------------------------------------------------------------------------------------------------------


def test_the_kinds_are_told_from_the_files(whisper: Path, pocket: Path) -> None:
    assert (kind_of(str(whisper)), kind_of(str(pocket))) == ("transcription", "speech")


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, {}),
        ({"language": "de"}, {"language": "de"}),
        ({"temperature": 0.8}, {"temperature": 0.8}),
        ({"words": True}, {"word_timestamps": True}),
        ({"prompt": "Ada"}, {"initial_prompt": "Ada"}),
        ({"task": "translate"}, {"task": "translate"}),
    ],
    ids=lambda each: "-".join(each) or "plain",
)
def test_a_transcript_is_the_librarys_own(
    hearing: Engine, whisper: Path, fields: dict[str, Any], options: dict[str, Any]
) -> None:
    name = f"own {fields}"
    hearing.submit(heard(name, **fields))
    hearing.finish()
    said, own = transcript(hearing, name), library_hears(whisper, sweep(2.0), **options)
    assert said.text == own.text.strip() and said.seconds == 2.0
    assert [(each.start, each.end, each.text, each.tokens) for each in said.segments] == [
        (each["start"], each["end"], each["text"], each["tokens"]) for each in own.segments
    ]
    words = [word for each in own.segments for word in each.get("words", [])]
    assert [(each.word, each.start) for each in said.words] == [(word["word"].strip(), word["start"]) for word in words]
    assert bool(words) == ("words" in fields)


def test_windows_are_steps_and_streams_say_them_as_they_come(hearing: Engine, whisper: Path) -> None:
    job = hearing.submit(heard("stream", WINDOWS, stream=True, temperature=0.7))
    pieces, shares = [], []
    while hearing.tick():
        shares.append(job.done)
        pieces.append("".join(each.text for each in hearing.said["stream"] if isinstance(each, TranscriptDelta)))
    said = transcript(hearing, "stream")
    assert said.text == library_hears(whisper, sweep(WINDOWS), temperature=0.7).text.strip()
    assert pieces[-1] == said.text and 0 < len(next(filter(None, pieces))) < len(said.text)
    assert shares == sorted(shares) and 0 < shares[2] < 1
    begun, first, *_ = hearing.said["stream"]
    assert isinstance(begun, Begun) and isinstance(first, FirstToken)
    finished = hearing.said["stream"][-1]
    assert isinstance(finished, Finished)
    assert finished.tally.prompt_tokens == job.prompt_tokens == 50 * WINDOWS and finished.tally.engine_seconds > 0


def test_a_long_sound_does_not_hold_up_another_users_short_one(hearing: Engine, whisper: Path) -> None:
    """And both draw as if they were alone."""
    hearing.submit(heard("long", WINDOWS, user="a", temperature=0.7))
    hearing.tick()
    hearing.tick()
    hearing.submit(heard("short", user="b", temperature=0.7))
    while "short" not in hearing.said or not isinstance(hearing.said["short"][-1], Finished):
        assert hearing.tick(), "the long one ended first"
    assert not isinstance(hearing.said["long"][-1], Finished)
    hearing.finish()
    assert transcript(hearing, "long").text == library_hears(whisper, sweep(WINDOWS), temperature=0.7).text.strip()
    assert transcript(hearing, "short").text == library_hears(whisper, sweep(2.0), temperature=0.7).text.strip()


def test_one_users_sounds_are_heard_in_order(hearing: Engine) -> None:
    for name in ("one", "two"):
        hearing.submit(heard(name))
    hearing.finish()
    names = list(hearing.said)
    assert names.index("one") < names.index("two")


def test_a_cancelled_sound_is_charged_as_far_as_it_came_and_leaves_nothing(whisper: Path) -> None:
    engine = Engine(whisper)
    job = engine.submit(heard("gone", WINDOWS))
    while not job.done:
        assert engine.tick()
    held = weakref.ref(job.samples)
    engine.core._cancel(lambda each: each.id == "gone")
    end = engine.said["gone"][-1]
    assert isinstance(end, Finished) and end.reason == "cancelled"
    assert 0 < end.tally.prompt_tokens < job.prompt_tokens
    assert not engine.core._live and engine.tick() is False
    del job
    gc.collect()
    assert held() is None


def test_a_timeout_ends_between_two_windows(whisper: Path) -> None:
    engine = Engine(whisper, timeout=600.0)
    job = engine.submit(heard("late", WINDOWS))
    engine.tick()
    job.deadline = job.received
    engine.tick()
    end = engine.said["late"][-1]
    assert isinstance(end, Failed) and end.code == "timeout" and "--timeout" in end.message


def test_a_failing_sound_fails_alone(hearing: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    # A real model fails on no sound that can be decoded.
    encoder = hearing.model.model.encoder
    monkeypatch.setattr(type(encoder), "__call__", lambda *_: 1 / 0)
    hearing.submit(heard("bad"))
    hearing.finish()
    monkeypatch.undo()
    end = hearing.said["bad"][-1]
    assert isinstance(end, Failed) and end.code == "engine_error"
    hearing.submit(heard("good"))
    hearing.finish()
    transcript(hearing, "good")


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (heard("a", language="tlh"), "language"),
        (Transcribe("a", Media(b"", "file")), "file"),
        (Transcribe("a", Media(b"Hello, this is a text.", "file")), "file"),
        (Transcribe("a", Media(heard("a").sound.data[:40], "file")), "file"),
        (Speak("a", "Hello"), "model"),
        (Generate("a", prompts=["Hello"]), "model"),
        (Embed("a", ["Hello"]), "model"),
    ],
    ids=["language", "empty", "text", "truncated", "speech", "chat", "embeddings"],
)
def test_what_can_not_be_heard(hearing: Engine, request_: Any, param: str) -> None:
    with pytest.raises(Refusal) as refused:
        hearing.reception.prepare(CLIENT, request_)
    assert refused.value.param == param


# --- speaking --------------------------------------------------------------------------------------------------------


def pcm(engine: Engine, id: str) -> np.ndarray:
    end = engine.said[id][-1]
    assert isinstance(end, Finished) and end.reason == "stop", end
    data = b"".join(each.data for each in engine.said[id] if isinstance(each, AudioDelta))
    return np.frombuffer(data, "<i2")


@pytest.mark.parametrize("voice", ["", *VOICES])
def test_speech_is_the_librarys_own(speaking: Engine, pocket: Path, voice: str) -> None:
    name = f"voice {voice}"
    job = speaking.submit(Speak(name, "Hello there", voice, format="pcm", user="u"))
    steps = speaking.finish()
    own = library_speaks(pocket, "Hello there", **({"voice": voice} if voice else {}))
    assert steps > 4 and np.abs(pcm(speaking, name) / 32768 - own).max() < 1e-4
    end = speaking.said[name][-1]
    assert isinstance(end, Finished) and end.tally.prompt_tokens == job.prompt_tokens == len("Hello there")


def test_voices_differ(pocket: Path) -> None:
    one, other = (library_speaks(pocket, "Hello there", voice=voice) for voice in VOICES)
    assert np.abs(one - other).max() > 0.01


def test_texts_are_spoken_one_after_the_other(speaking: Engine, pocket: Path) -> None:
    """Whoever's they are: the model keeps something of a text between two steps."""
    for name, user in (("first", "a"), ("second", "b")):
        speaking.submit(Speak(name, "Hello there", format="pcm", user=user))
    speaking.finish()
    own = library_speaks(pocket, "Hello there")
    assert all(np.abs(pcm(speaking, name) / 32768 - own).max() < 1e-4 for name in ("first", "second"))
    order = [name for name in speaking.said if name in ("first", "second")]
    assert order == ["first", "second"]


def test_a_cancelled_text_leaves_the_next_untouched(speaking: Engine, pocket: Path) -> None:
    speaking.submit(Speak("left", "One two three four", format="pcm", user="a"))
    speaking.tick()
    speaking.tick()
    speaking.core._cancel(lambda each: each.id == "left")
    speaking.submit(Speak("next", "Hello there", format="pcm", user="a"))
    speaking.finish()
    assert np.abs(pcm(speaking, "next") / 32768 - library_speaks(pocket, "Hello there")).max() < 1e-4


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (Speak("a", "Hello", "nobody"), "voice"),
        (Speak("a", "Hello", "https://example.org/voice.safetensors"), "voice"),
        (Speak("a", "Hello", "/etc/passwd"), "voice"),
        (Speak("a", "Hello", instructions="Whisper."), "instructions"),
        (heard("a"), "model"),
        (Generate("a", prompts=["Hello"]), "model"),
    ],
    ids=["voice", "address", "path", "instructions", "hearing", "chat"],
)
def test_what_can_not_be_spoken(speaking: Engine, request_: Any, param: str) -> None:
    with pytest.raises(Refusal) as refused:
        speaking.reception.prepare(CLIENT, request_)
    assert refused.value.param == param


# --- loading, and the tool -------------------------------------------------------------------------------------------


def test_what_can_not_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "whisper"}')
    with pytest.raises(ModelError, match="transcription model"):
        load_audio_model(str(tmp_path), "made", "transcription")


def test_a_function_in_steps() -> None:
    left = []

    def call() -> str:
        try:
            for _ in range(3):
                pause()
            return "done"
        finally:
            left.append(True)

    steps = stepwise(call)
    assert [next(steps) for _ in range(3)] == [None] * 3
    with pytest.raises(StopIteration, match="done"):
        next(steps)
    closed = stepwise(call)
    next(closed)
    closed.close()
    assert len(left) == 2
    failing = stepwise(lambda: [][1])
    with pytest.raises(IndexError):
        next(failing)
    pause()  # outside, nobody waits
