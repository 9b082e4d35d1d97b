"""How texts are spoken: the library's own sound, one text after the other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.engine.kinds import kind_of
from inference.engine.prepare import Refusal
from inference.engine.protocol import AudioDelta, Finished, Generate, Speak
from tests.support.audio_engine import CLIENT, Engine, heard
from tests.support.audio_made import VOICES, library_speaks, make_pocket


@pytest.fixture(scope="module")
def pocket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pocket(tmp_path_factory.mktemp("speaks") / "made")


@pytest.fixture(scope="module")
def speaking(pocket: Path) -> Engine:
    return Engine(pocket)


def test_its_kind_is_told_from_its_files(pocket: Path) -> None:
    assert kind_of(str(pocket)) == "speech"


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
