"""What is said to a decoding process and by it: msgpack behind a length, then raw bytes where a message announces some.

The raw bytes of a job are the client's. Those of an answer are pixels or samples as they lie in memory.
"""

import struct

import msgspec

HEADER = struct.Struct(">I")
LARGEST_MESSAGE = 16 * 1024 * 1024


class ImageJob(msgspec.Struct, tag="image"):
    size: int
    """Bytes that follow; so in the other jobs."""


class VideoJob(msgspec.Struct, tag="video"):
    size: int
    fps: float
    max_frames: int
    min_frames: int
    multiple: int


class AudioJob(msgspec.Struct, tag="audio"):
    size: int
    rate: int


class Ready(msgspec.Struct, tag="ready"):
    """The process has loaded its libraries and locked itself up."""


class Begun(msgspec.Struct, tag="begun"):
    """A job has been heard of. If the process dies before, another may be given the same."""


class Pixels(msgspec.Struct, tag="pixels"):
    """`height * width * 3` bytes follow."""

    height: int
    width: int
    format: str


class Frames(msgspec.Struct, tag="frames"):
    """`len(indices) * height * width * 3` bytes follow."""

    height: int
    width: int
    format: str
    indices: list[int]
    times: list[float]
    total: int
    fps: float
    seconds: float


class Samples(msgspec.Struct, tag="samples"):
    """`4 * count` bytes follow."""

    count: int
    format: str


class Refused(msgspec.Struct, tag="refused"):
    code: str
    message: str


Job = ImageJob | VideoJob | AudioJob
Answer = Ready | Begun | Pixels | Frames | Samples | Refused

encode = msgspec.msgpack.Encoder().encode
decode_job = msgspec.msgpack.Decoder(Job).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode


def framed(message: Job | Answer) -> bytes:
    body = encode(message)
    return HEADER.pack(len(body)) + body
