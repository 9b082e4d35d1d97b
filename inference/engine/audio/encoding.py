"""Samples to the bytes of a file, as they come, by FFmpeg's libraries through PyAV."""

import io
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import av.filter
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream

from inference.engine.protocol import AudioFormat

BEND = 2.0
"""The most that FFmpeg's `atempo` should be asked for at once; more is done by several of them."""


@dataclass(frozen=True, slots=True)
class _Format:
    container: str
    codec: str
    rates: tuple[int, ...] = ()
    """In hertz, that the codec has; empty: any."""
    options: tuple[tuple[str, str], ...] = ()
    """Of the container."""
    bits: int | None = None
    """A second."""


MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
FORMATS: dict[AudioFormat, _Format] = {
    # A header with the length would have to be written when all the rest has left.
    "mp3": _Format("mp3", "libmp3lame", MP3_RATES, (("write_xing", "0"),), 128_000),
    "opus": _Format("ogg", "libopus", (8000, 12000, 16000, 24000, 48000), (), 64_000),
    "aac": _Format("adts", "aac", MP3_RATES, (), 128_000),
    "flac": _Format("flac", "flac"),
    "wav": _Format("wav", "pcm_s16le"),
    "pcm": _Format("s16le", "pcm_s16le", (24_000,)),
}


class Encoding:
    """One file. rate: of the samples, in hertz.  speed: of the speech, whose pitch stays."""

    def __init__(self, format: AudioFormat, rate: int, *, speed: float = 1.0) -> None:
        form = FORMATS[format]
        self._rate = rate
        self._said = 0
        """Samples so far."""
        self._file = _Pipe()
        self._container = av.open(self._file, "w", format=form.container, options=dict(form.options))
        to = min((each for each in form.rates if each >= rate), default=max(form.rates, default=rate))
        self._stream = cast(AudioStream, self._container.add_stream(form.codec, rate=to, layout="mono"))
        if form.bits is not None:
            self._stream.bit_rate = form.bits
        self._graph = _bent(rate, speed) if speed != 1.0 else None
        self._container.start_encoding()
        context = self._stream.codec_context
        self._resampler = av.AudioResampler(
            format=context.format, layout="mono", rate=to, frame_size=context.frame_size or 0
        )

    def add(self, samples: npt.NDArray[np.float32]) -> bytes:
        """What can be said of the file so far and has not been."""
        frame = AudioFrame.from_ndarray(np.clip(samples, -1.0, 1.0)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._said, Fraction(1, self._rate)
        self._said += samples.size
        for bent in self._bend(frame):
            self._encode(bent)
        return self._file.taken()

    def end(self) -> bytes:
        for bent in self._bend(None):
            self._encode(bent)
        self._encode(None)
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._file.taken()

    def _encode(self, frame: AudioFrame | None) -> None:
        for piece in self._resampler.resample(frame):
            self._container.mux(self._stream.encode(piece))

    def _bend(self, frame: AudioFrame | None) -> list[AudioFrame]:
        if self._graph is None:
            return [] if frame is None else [frame]
        self._graph.push(frame)
        bent: list[AudioFrame] = []
        while True:
            try:
                out = self._graph.pull()
            except (BlockingIOError, EOFError):
                return bent
            assert isinstance(out, AudioFrame)
            bent.append(out)


class _Pipe(io.RawIOBase):
    """What is written and has not been taken. It can't be sought in, so containers write what needs no second look."""

    def __init__(self) -> None:
        super().__init__()
        self._data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]  # PyAV's are buffers
        self._data += piece
        return len(piece)

    def taken(self) -> bytes:
        data = bytes(self._data)
        self._data.clear()
        return data


def _bent(rate: int, speed: float) -> av.filter.Graph:
    graph = av.filter.Graph()
    nodes = [graph.add_abuffer(sample_rate=rate, format="fltp", layout="mono", time_base=Fraction(1, rate))]
    while not 1 / BEND <= speed <= BEND:
        part = BEND if speed > 1 else 1 / BEND
        nodes.append(graph.add("atempo", str(part)))
        speed /= part
    nodes += [graph.add("atempo", f"{speed:.6f}"), graph.add("abuffersink")]
    graph.link_nodes(*nodes).configure()
    return graph
