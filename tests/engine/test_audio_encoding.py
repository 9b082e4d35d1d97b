"""Samples to files: every format, decoded again by the engine's own decoder."""

import numpy as np
import pytest

from inference.engine.audio.encoding import FORMATS, Encoding
from inference.engine.media.decoder import Decoder
from tests.support.audio_made import sweep

RATE = 24_000


def encoded(format: str, samples: np.ndarray, rate: int = RATE, *, pieces: int = 5, speed: float = 1.0) -> bytes:
    encoding = Encoding(format, rate, speed=speed)  # type: ignore[arg-type]
    return b"".join(encoding.add(piece) for piece in np.array_split(samples, pieces)) + encoding.end()


@pytest.fixture(scope="module")
def decode():
    with Decoder(workers=1) as decoder:
        yield lambda data, rate=RATE: decoder.audio(data, rate)


@pytest.mark.parametrize("rate", [16_000, RATE, 32_000, 44_100])
@pytest.mark.parametrize("format", [format for format in FORMATS if format != "pcm"])
def test_what_is_encoded_is_the_sound(decode, format, rate):
    samples = sweep(1.5, rate=rate)
    found = decode(encoded(format, samples, rate), rate)
    # Codecs put silence before and behind.
    assert abs(found.seconds - 1.5) < 0.12
    spectra = [np.abs(np.fft.rfft(each, 2 * rate)) for each in (samples, found.samples)]
    assert np.corrcoef(*spectra)[0, 1] > 0.98


def test_lossless_is_exact(decode):
    samples = sweep(1.0, rate=RATE)
    for format in ("wav", "flac"):
        assert np.abs(decode(encoded(format, samples)).samples - samples).max() < 1e-4
    raw = np.frombuffer(encoded("pcm", samples), "<i2")
    assert raw.size == samples.size and np.abs(raw / 32768 - samples).max() < 1e-4


def test_pcm_is_always_of_one_rate():
    raw = np.frombuffer(encoded("pcm", sweep(1.0, rate=16_000), 16_000), "<i2")
    assert abs(raw.size - RATE) < 100


@pytest.mark.parametrize("speed", [0.25, 0.5, 0.9, 1.7, 4.0])
def test_speed_changes_the_length_and_not_the_pitch(decode, speed):
    hertz = 440.0
    tone = (0.5 * np.sin(2 * np.pi * hertz * np.arange(2 * RATE) / RATE)).astype(np.float32)
    found = decode(encoded("wav", tone, speed=speed))
    assert abs(found.seconds - 2.0 / speed) < 0.15
    peak = np.abs(np.fft.rfft(found.samples)).argmax() * RATE / found.samples.size
    assert abs(peak - hertz) < 10


def test_too_loud_and_too_short_are_files_too(decode):
    loud = decode(encoded("wav", 9 * np.ones(RATE, np.float32)))
    assert loud.samples.max() <= 1.0
    assert decode(encoded("flac", np.zeros(1, np.float32), pieces=1)).samples.size == 1


def test_something_leaves_before_the_end():
    encoding = Encoding("mp3", RATE)
    first = encoding.add(sweep(1.0, rate=RATE))
    assert len(first) > 1000 and encoding.end()
