"""Clips and sounds as FFmpeg's libraries see them: which formats and codecs they may try. Only in the decoding process.

FFmpeg knows four hundred formats, some of which (playlists) open further addresses and files. The format is therefore
told, never guessed, and only the codecs listed here are ever started.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import av
import av.logging
import av.subtitles.stream
from av.container import InputContainer

from inference.engine.media import errors

DEMUXERS = {
    "MP4": "mov", "WEBM": "matroska",
    "WAV": "wav", "MP3": "mp3", "FLAC": "flac", "OGG": "ogg", "AAC": "aac",
}  # fmt: skip
VIDEO_CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "mpeg4", "mjpeg", "prores", "h263")
AUDIO_CODECS = (
    "aac", "alac", "flac", "mp2", "mp2float", "mp3", "mp3float", "opus", "libopus", "vorbis", "libvorbis",
    "pcm_u8", "pcm_s8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be",
    "pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "pcm_alaw", "pcm_mulaw", "adpcm_ms", "adpcm_ima_wav",
    "adpcm_ima_qt",
)  # fmt: skip
PROBED_PIXELS = 64_000_000
"""Of frames that FFmpeg may decode while it looks what is there, before we can judge the size."""

av.logging.set_level(None)
LATER = (av.subtitles.stream,)
"""PyAV imports it when it first opens something, which in a locked-up process would be too late."""


@contextmanager
def container_of(data: bytes, format: str, what: str) -> Iterator[InputContainer]:
    """what: "video" or "sound", for messages. What FFmpeg says of the data inside of the block becomes a MediaError."""
    try:
        with av.open(
            BytesIO(data),
            mode="r",
            format=DEMUXERS[format],
            options={
                "codec_whitelist": ",".join((*VIDEO_CODECS, *AUDIO_CODECS)),
                "protocol_whitelist": "none",
                "max_pixels": str(PROBED_PIXELS),
                "max_streams": "32",
            },
        ) as container:
            yield container
    except MemoryError:
        raise
    except av.error.FFmpegError:
        raise damaged(what) from None


def damaged(what: str) -> errors.MediaError:
    return errors.unreadable(f"The {what} can't be decoded: it is damaged, or a part of the file is missing.")
