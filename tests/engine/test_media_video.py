"""Clips, from bytes to frames: which ones, when, how they look, and what is no clip."""

import io
import struct
from collections.abc import Iterator

import av
import numpy as np
import pytest
from PIL import Image

from inference.engine.media.decoder import Clip, Decoder
from inference.engine.media.errors import MediaError
from inference.engine.media.limits import Limits
from inference.engine.media.sampling import count_of, spread
from tests.support.media_made import BLUE, GREEN, RED, animation, clip, png, saved, shade, sound, tone, wav


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(workers=1) as running:
        yield running


def refused(decoder: Decoder, data: bytes, fps: float = 2.0, max_frames: int = 8) -> MediaError:
    with pytest.raises(MediaError) as caught:
        decoder.video(data, fps, max_frames)
    return caught.value


def shades(shown: Clip) -> list[int]:
    """Which of its frames a clip of `media_made` shows, by their brightness."""
    means = [float(frame.mean()) for frame in shown.frames]
    return [round((mean - shade(0)) / (shade(1) - shade(0))) for mean in means]


KINDS = [
    ("mp4", "libx264", "MP4"), ("mp4", "mpeg4", "MP4"), ("mp4", "libx265", "MP4"), ("mov", "libx264", "MP4"),
    ("mp4", "libsvtav1", "MP4"), ("webm", "libvpx", "WEBM"), ("webm", "libvpx-vp9", "WEBM"),
    ("matroska", "libx264", "WEBM"),
]  # fmt: skip


@pytest.mark.parametrize(("format", "codec", "name"), KINDS)
def test_every_kind_is_read(decoder: Decoder, format: str, codec: str, name: str) -> None:
    shown = decoder.video(clip(format, codec), fps=2.0, max_frames=100)
    assert shown.format == name
    assert shown.frames.dtype == np.uint8 and shown.frames.shape == (6, 48, 64, 3)
    assert (shown.total, shown.fps, shown.seconds) == (24, pytest.approx(8, rel=0.01), pytest.approx(3, rel=0.01))
    assert shown.indices == [0, 5, 9, 14, 18, 23]
    assert shown.times == pytest.approx([index / 8 for index in shown.indices], abs=0.002)
    assert shades(shown) == shown.indices


@pytest.mark.parametrize("gop", [1, 3, 250])
def test_frames_are_the_same_wherever_decoding_can_begin(decoder: Decoder, gop: int) -> None:
    data = clip("mp4", "libx264", frames=40, gop=gop)
    every = decoder.video(data, fps=1000, max_frames=40)
    assert shades(every) == every.indices == list(range(40))
    for count in (1, 2, 3, 7):
        some = decoder.video(data, fps=1000, max_frames=count)
        assert shades(some) == some.indices
        assert (some.frames == every.frames[some.indices]).all()


def test_the_number_of_frames(decoder: Decoder) -> None:
    data = clip(frames=24, rate=8)
    assert len(decoder.video(data, fps=2, max_frames=4).indices) == 4
    assert decoder.video(data, fps=0.01, max_frames=4).indices == [0]
    assert decoder.video(data, fps=0.01, max_frames=9, min_frames=4).indices == [0, 8, 15, 23]
    assert len(decoder.video(data, fps=1, max_frames=9, multiple=2).indices) == 2
    assert len(decoder.video(clip(frames=3), fps=100, max_frames=9, min_frames=8, multiple=2).indices) == 2
    assert len(decoder.video(clip(frames=1), fps=100, max_frames=9, min_frames=8, multiple=4).indices) == 1


@pytest.mark.parametrize(
    ("fps", "max_frames", "options"),
    [(0, 8, {}), (-1, 8, {}), (float("nan"), 8, {}), (float("inf"), 8, {}), (1, 0, {}), (1, 8, {"min_frames": 9}),
     (1, 8, {"min_frames": 0}), (1, 8, {"multiple": 0}), (1, 1, {"multiple": 2})],
)  # fmt: skip
def test_numbers_that_make_no_sense(decoder: Decoder, fps: float, max_frames: int, options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="fps"):
        decoder.video(clip(), fps, max_frames, **options)


def test_too_many_frames_are_refused(decoder: Decoder) -> None:
    error = refused(decoder, clip(), max_frames=769)
    assert error.code == "media_too_large" and "768" in error.message


def test_as_mlx_vlm_chooses() -> None:
    """`mlx_vlm.utils.load_video`: clamp, round down to the factor, linspace over the indices."""
    for total, fps, want in ((24, 8.0, 2.0), (100, 29.97, 2.0), (7, 30.0, 2.0), (1000, 25.0, 1.0), (16, 8.0, 1.0)):
        for multiple, low, high in ((1, 1, 8), (2, 2, 8), (2, 4, 768)):
            count = count_of(total, total / fps, want, min_frames=low, max_frames=high, multiple=multiple)
            wanted = min(max(total / fps * want, low), high // multiple * multiple, total) // multiple * multiple
            if wanted:
                assert count == wanted
                indices = np.linspace(0, total - 1, int(wanted)).round().astype(int).tolist()
                assert spread(np.arange(total) / fps, count) == indices


def test_a_recording_whose_frames_last_unequally_is_sampled_by_time(decoder: Decoder) -> None:
    ticks = [0, 100, 200, 300, 9000, 9100, 9200, 10_000]
    shown = decoder.video(clip("mp4", "libx264", frames=8, ticks=ticks), fps=0.5, max_frames=8)
    assert shown.indices == [0, 3, 3, 3, 7], "at 0, 2.5, 5, 7.5 and 10 s"
    assert shades(shown) == shown.indices
    assert shown.times == pytest.approx([0.0, 0.3, 0.3, 0.3, 10.0], abs=0.01)


@pytest.mark.parametrize(("degrees", "matrix"), [(90, (0, 1, -1, 0)), (180, (-1, 0, 0, -1)), (270, (0, -1, 1, 0))])
def test_clips_are_turned_as_the_camera_was_held(decoder: Decoder, degrees: int, matrix: tuple[int, ...]) -> None:
    """By the matrix in the track's header, as phones write it. degrees: clockwise, for whoever shows the clip."""
    file = io.BytesIO()
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32] = 255  # bright at the upper left
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=4)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    data = bytearray(file.getvalue())
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    frames = decoder.video(bytes(data), fps=1, max_frames=1).frames
    wanted = np.rot90(picture, -degrees // 90)
    assert frames[0].shape == wanted.shape
    assert np.abs(frames[0].astype(int) - wanted).mean() < 8


def test_large_frames_are_scaled_down() -> None:
    with Decoder(Limits(video_shown_pixels=16 * 12), workers=1) as decoder:
        shown = decoder.video(clip(), fps=1, max_frames=8)
        assert shown.frames.shape[1:] == (12, 16, 3) and shades(shown) == shown.indices
        assert decoder.video(animation("GIF", [RED, BLUE]), fps=2, max_frames=8).frames.shape[1:] == (8, 16, 3)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_animations_are_clips_where_a_clip_is_wanted(decoder: Decoder, format: str) -> None:
    shown = decoder.video(animation(format, [RED, GREEN, BLUE, RED]), fps=2, max_frames=8)
    assert shown.format == format and shown.frames.shape == (4, 8, 16, 3)
    assert (shown.times, shown.seconds, shown.fps, shown.total) == ([0.0, 0.5, 1.0, 1.5], 2.0, 2.0, 4)
    for frame, color in zip(shown.frames, (RED, GREEN, BLUE, RED), strict=True):
        assert np.abs(frame.astype(int) - color).max() < 12


def test_of_a_gif_with_unequal_frames(decoder: Decoder) -> None:
    shown = decoder.video(animation("GIF", [RED, GREEN, BLUE], [100, 3000, 100]), fps=0.7, max_frames=8)
    assert shown.seconds == pytest.approx(3.2) and shown.times == pytest.approx([0.0, 3.1])
    hasty = decoder.video(animation("GIF", [RED, GREEN], 0), fps=100, max_frames=8)
    assert hasty.times == [0.0, 0.1], "as browsers show frames that say no time"
    assert decoder.video(animation("GIF", [RED]), fps=1, max_frames=8).total == 1


def test_digests_tell_clips_apart(decoder: Decoder) -> None:
    data = clip()
    first, again = (decoder.video(data, 2, 8) for _ in range(2))
    fewer, faster = decoder.video(data, 2, 4), decoder.video(clip(rate=16), 4, 8)
    assert first.digest == again.digest and first.source_digest == fewer.source_digest
    assert len({first.digest, fewer.digest, faster.digest}) == 3, "the frames' times count"
    short = clip(frames=2)
    few, wished = decoder.video(short, 100, 8), decoder.video(short, 50, 8)
    assert few.indices == wished.indices and few.digest != wished.digest, "and so does what was asked for"


def test_a_video_without_frames(decoder: Decoder) -> None:
    for data in (
        sound("mp4", "aac", tone()), sound("webm", "libopus", tone(rate=48_000), 48_000),
        clip("mp4", "libx264", frames=0), clip("webm", "libvpx", frames=0),
    ):  # fmt: skip
        error = refused(decoder, data)
        assert error.code == "media_unreadable"


def test_a_cover_is_no_video(decoder: Decoder) -> None:
    error = refused(decoder, sound("mp4", "aac", tone()))
    assert "no pictures" in error.message


@pytest.mark.parametrize(("format", "codec", "name"), KINDS)
def test_damaged_clips_cost_an_error_at_most(decoder: Decoder, format: str, codec: str, name: str) -> None:
    whole = clip(format, codec)
    random = np.random.default_rng(0)
    assert refused(decoder, whole[:40]).code == "media_unreadable"
    for attempt in range(12):
        data = bytearray(whole)
        for at in random.integers(0, len(data), 1 + 3 * attempt):
            data[at] = random.integers(0, 256)
        try:
            assert len(decoder.video(bytes(data), 2, 8).frames)
        except MediaError as error:
            assert error.code.startswith("media_")
    assert shades(decoder.video(whole, 1, 3)) == [0, 12, 23]


def test_an_mp4_whose_end_is_missing(decoder: Decoder) -> None:
    whole = clip("mp4", "libx264")
    assert refused(decoder, whole[: len(whole) // 2]).code == "media_unreadable"
    streamable = clip("mp4", "libx264", frames=200, movflags="faststart")
    assert refused(decoder, streamable[: len(streamable) * 2 // 3]).code == "media_unreadable"


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "no bytes"),
        (png(), "picture"),
        (wav(0.1), "WAV"),
        (b"<!doctype html>", "web page"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/secret\n", "playlist"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "no known format"),
        (b"FLV\x01\x05", "FLV"),
    ],
)
def test_what_is_no_clip_is_said_to_be_none(decoder: Decoder, data: bytes, word: str) -> None:
    error = refused(decoder, data)
    assert error.code in ("media_unreadable", "media_unsupported") and word in error.message


@pytest.mark.parametrize(
    ("limits", "word"),
    [
        (Limits(video_seconds=2.5), "2.5 s"),
        (Limits(video_source_frames=20), "20 frames"),
        (Limits(video_pixels=1000), "64×48"),
        (Limits(video_bytes=3 * 64 * 48 * 3), "at most 3 (video_max_frames)"),
    ],
)
def test_limits_of_clips(limits: Limits, word: str) -> None:
    with Decoder(limits, workers=1) as decoder:
        for data in (clip(), clip("webm", "libvpx-vp9")):
            error = refused(decoder, data)
            assert error.code == "media_too_large" and word in error.message


@pytest.mark.parametrize(
    ("limits", "word"), [(Limits(video_seconds=1.5), "1.5 s"), (Limits(animation_frames=3), "at most 3")]
)
def test_limits_of_animations(limits: Limits, word: str) -> None:
    with Decoder(limits, workers=1) as decoder:
        error = refused(decoder, animation("GIF", [RED, GREEN, BLUE, RED]))
        assert error.code == "media_too_large" and word in error.message


def test_a_still_picture_is_no_clip(decoder: Decoder) -> None:
    for format in ("JPEG", "WEBP", "BMP"):
        error = refused(decoder, saved(Image.new("RGB", (4, 4)), format))
        assert error.code == "media_unreadable" and "picture" in error.message
