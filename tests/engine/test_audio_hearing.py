"""How sounds are heard: the library's own transcript, in steps, in turns, to every end."""

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

from inference.engine.audio.load import load_audio_model
from inference.engine.audio.stepwise import pause, stepwise
from inference.engine.kinds import kind_of
from inference.engine.model import ModelError
from inference.engine.prepare import Refusal
from inference.engine.protocol import (
    Begun,
    Embed,
    Failed,
    Finished,
    FirstToken,
    Generate,
    Media,
    Speak,
    Transcribe,
    Transcribed,
    TranscriptDelta,
)  # fmt: skip
from tests.support.audio_engine import CLIENT, Engine, heard
from tests.support.audio_made import library_hears, make_whisper, sweep

WINDOWS = 70.0
"""Seconds of a sound of three windows."""


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whisper(tmp_path_factory.mktemp("hears") / "made")


@pytest.fixture(scope="module")
def hearing(whisper: Path) -> Engine:
    return Engine(whisper)


def transcript(engine: Engine, id: str) -> Transcribed:
    *_, answer, end = engine.said[id]
    assert isinstance(answer, Transcribed) and isinstance(end, Finished) and end.reason == "stop"
    return answer


def test_its_kind_is_told_from_its_files(whisper: Path) -> None:
    assert kind_of(str(whisper)) == "transcription"


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
