"""Sounds, from bytes to samples."""

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from inference.engine.media.decoder import Decoder
from inference.engine.media.errors import MediaError
from inference.engine.media.limits import Limits
from tests.support.media_made import clip, png, sound, tone, wav


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(workers=1) as running:
        yield running


def refused(decoder: Decoder, data: bytes, rate: int = 16_000) -> MediaError:
    with pytest.raises(MediaError) as caught:
        decoder.audio(data, rate)
    return caught.value


def loudest(samples: np.ndarray, rate: int) -> float:
    """The hertz of the loudest tone."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    return float(np.argmax(spectrum) * rate / samples.size)


KINDS = [
    ("wav", "pcm_s16le", "WAV", 16_000), ("wav", "pcm_f32le", "WAV", 44_100), ("wav", "pcm_s24le", "WAV", 48_000),
    ("wav", "pcm_u8", "WAV", 8_000), ("wav", "pcm_mulaw", "WAV", 8_000),
    ("mp3", "libmp3lame", "MP3", 44_100), ("flac", "flac", "FLAC", 44_100), ("ogg", "libopus", "OGG", 48_000),
    ("mp4", "aac", "MP4", 44_100), ("adts", "aac", "AAC", 44_100), ("webm", "libopus", "WEBM", 48_000),
    ("ipod", "alac", "MP4", 44_100),
]  # fmt: skip


@pytest.mark.parametrize(("format", "codec", "name", "rate"), KINDS)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_kind_is_read(decoder: Decoder, format: str, codec: str, name: str, rate: int, channels: int) -> None:
    heard = decoder.audio(sound(format, codec, tone(1.0, rate, channels=channels), rate), 16_000)
    assert heard.format == name and heard.rate == 16_000
    assert heard.samples.dtype == np.float32 and heard.samples.ndim == 1
    assert heard.seconds == pytest.approx(1.0, abs=0.08)
    assert loudest(heard.samples, 16_000) == pytest.approx(440, abs=3)
    assert np.abs(heard.samples[2000:-2000]).max() == pytest.approx(0.5, abs=0.06)


def test_samples_that_need_no_conversion_stay_as_they_are(decoder: Decoder) -> None:
    original = tone(0.5, 16_000)
    heard = decoder.audio(sound("wav", "pcm_f32le", original), 16_000)
    assert (heard.samples == original[0]).all()
    assert not heard.samples.flags.writeable


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100, 48_000])
def test_any_rate(decoder: Decoder, rate: int) -> None:
    heard = decoder.audio(wav(1.0, 22_050), rate)
    assert heard.samples.size == pytest.approx(rate, rel=0.01) and heard.rate == rate
    assert loudest(heard.samples, rate) == pytest.approx(440, abs=3)


@pytest.mark.parametrize("rate", [0, -1, 999, 192_001])
def test_rates_that_make_no_sense(decoder: Decoder, rate: int) -> None:
    with pytest.raises(ValueError, match="rate"):
        decoder.audio(wav(0.1), rate)


def test_channels_are_mixed(decoder: Decoder) -> None:
    left = np.concatenate([tone(1.0, hertz=440), np.zeros((1, 16_000), np.float32)])
    heard = decoder.audio(sound("wav", "pcm_f32le", left), 16_000)
    assert np.abs(heard.samples).max() == pytest.approx(0.25, abs=0.12)


def test_the_sound_of_a_video_is_a_sound_and_a_silent_video_none(decoder: Decoder) -> None:
    error = refused(decoder, clip("mp4", "libx264"))
    assert error.code == "media_unreadable" and "no sound" in error.message
    assert decoder.audio(sound("mp4", "aac", tone()), 16_000).samples.size


@pytest.mark.parametrize(("format", "codec"), [("wav", "pcm_s16le"), ("flac", "flac"), ("mp4", "aac")])
def test_a_sound_of_zero_length_is_refused(decoder: Decoder, format: str, codec: str) -> None:
    error = refused(decoder, sound(format, codec, np.zeros((1, 0), np.float32)))
    assert error.code == "media_unreadable"


def test_it_says_that_the_length_is_zero(decoder: Decoder) -> None:
    assert "length of zero" in refused(decoder, wav(0.0)).message


def test_a_sound_of_one_sample(decoder: Decoder) -> None:
    assert decoder.audio(sound("wav", "pcm_f32le", np.full((1, 1), 0.5, np.float32)), 16_000).samples.tolist() == [0.5]


def test_floats_that_are_no_numbers(decoder: Decoder) -> None:
    odd = np.array([[0.5, np.nan, np.inf, -np.inf, 0.25]], np.float32)
    assert decoder.audio(sound("wav", "pcm_f32le", odd), 16_000).samples.tolist() == [0.5, 0.0, 1.0, -1.0, 0.25]


def test_too_long_a_sound_is_refused() -> None:
    with Decoder(Limits(audio_seconds=1.0), workers=1) as decoder:
        assert decoder.audio(wav(1.0), 16_000).samples.size == 16_000
        for data in (wav(1.1), sound("ogg", "libopus", tone(1.2, 48_000), 48_000)):
            error = refused(decoder, data)
            assert error.code == "media_too_large" and "1 s" in error.message


@pytest.mark.parametrize(("format", "codec", "name", "rate"), KINDS)
def test_damaged_sounds_cost_an_error_at_most(decoder: Decoder, format: str, codec: str, name: str, rate: int) -> None:
    whole = sound(format, codec, tone(0.5, rate), rate)
    random = np.random.default_rng(1)
    for attempt in range(10):
        data = bytearray(whole[: len(whole) * (10 - attempt) // 10])
        for at in random.integers(0, len(data), 2 * attempt):
            data[at] = random.integers(0, 256)
        try:
            assert np.isfinite(decoder.audio(bytes(data), 16_000).samples).all()
        except MediaError as error:
            assert error.code.startswith("media_")
    assert decoder.audio(whole, 16_000).samples.size


def wav_that_says(**fields: Any) -> bytes:
    """A WAV header with anything in it, and a few samples."""
    format, channels, rate, bits = (fields.get(name, usual) for name, usual in
                                    (("format", 1), ("channels", 1), ("rate", 16_000), ("bits", 16)))  # fmt: skip
    header = struct.pack("<HHIIHH", format, channels, rate, rate * 2 % 2**32, 2, bits)
    body = (
        b"WAVEfmt " + struct.pack("<I", 16) + header + b"data" + struct.pack("<I", fields.get("size", 64)) + bytes(64)
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    "fields",
    [{"rate": 0}, {"rate": 4_294_967_295}, {"channels": 0}, {"channels": 65_535}, {"bits": 0}, {"format": 0x7777}],
)
def test_absurd_headers(decoder: Decoder, fields: dict[str, int]) -> None:
    assert refused(decoder, wav_that_says(**fields)).code in ("media_unreadable", "media_unsupported")
    assert decoder.audio(wav_that_says(size=4_294_967_295), 16_000).samples.size == 32


@pytest.mark.parametrize(
    ("data", "word"),
    [(b"", "no bytes"), (png(), "PNG"), (b"<html>", "web page"), (b"#!AMR\n", "AMR"), (b"hello", "no known format")],
)
def test_what_is_no_sound_is_said_to_be_none(decoder: Decoder, data: bytes, word: str) -> None:
    error = refused(decoder, data)
    assert error.code in ("media_unreadable", "media_unsupported") and word in error.message


def test_digests_tell_sounds_apart(decoder: Decoder) -> None:
    data = wav()
    first, again, slower = decoder.audio(data, 16_000), decoder.audio(data, 16_000), decoder.audio(data, 8_000)
    assert first.digest == again.digest != slower.digest and first.source_digest == slower.source_digest
