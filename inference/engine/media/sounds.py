"""A sound's bytes to samples, by PyAV. Only in the decoding process."""

from collections.abc import Iterator

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.container import InputContainer

from inference.engine.media import errors
from inference.engine.media.containers import AUDIO_CODECS, container_of, damaged
from inference.engine.media.formats import SOUNDS, format_of, in_words
from inference.engine.media.limits import Limits
from inference.engine.media.wire import Samples


def decode(data: bytes, rate: int, limits: Limits) -> tuple[Samples, bytes]:
    """One channel of float32 at `rate` hertz; several are mixed. A clip's sound will do."""
    format = format_of(data)
    if format not in SOUNDS:
        raise errors.unsupported(
            f"The sound can't be read: it is {in_words(format)}. WAV, MP3, FLAC, Ogg (Opus, Vorbis), AAC, M4A and WebM "
            "are read."
        )
    most = int(limits.audio_seconds * rate)
    pieces, count = [], 0
    with container_of(data, format, "sound") as container:
        for frame in _resampled(container, rate):
            # The mean: FFmpeg's own mixing makes what is the same in two channels louder than it was.
            piece = frame.to_ndarray().mean(axis=0, dtype=np.float32)
            pieces.append(piece)
            count += piece.size
            if count > most:
                raise errors.too_large(f"The sound is longer than {limits.audio_seconds:g} s, the limit here; cut it.")
    if not count:
        raise errors.unreadable("The sound has a length of zero.")
    samples = np.concatenate(pieces, dtype=np.float32)
    # A file of floats may hold anything.
    return Samples(count, format), np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0).tobytes()


def _resampled(container: InputContainer, rate: int) -> Iterator[AudioFrame]:
    if not container.streams.audio:
        raise errors.unreadable("There is no sound in this file.")
    stream = container.streams.audio[0]
    codec = stream.codec_context
    if codec is None or codec.codec.canonical_name not in AUDIO_CODECS:
        raise errors.unsupported("The sound's codec is not read here; send PCM, MP3, FLAC, Opus, Vorbis or AAC.")
    resampler = av.AudioResampler(format="fltp", rate=rate)
    try:
        for frame in container.decode(stream):
            yield from resampler.resample(frame)
        yield from resampler.resample(None)
    except ValueError:  # its channels or rate change on the way; FFmpeg's own errors are others
        raise damaged("sound") from None
