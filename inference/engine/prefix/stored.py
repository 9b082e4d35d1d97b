"""A block or a checkpoint as a file: its format, written and read back.

    magic, version   8 + 2 bytes
    header length    4 bytes, little-endian
    header           JSON: fingerprint, kind, key, parent, label, tokens, and each buffer's type, shape and length
    buffers          as they were given, one behind the other
    checksum         4 bytes: CRC-32 of all before it

CRC-32, because what it guards against is a damaged or half-written file, not an enemy: whoever can write to the folder
can read the database beside it. It runs at several GB/s, as fast as the disk; BLAKE2b would be the slower of the two.
"""

import json
from dataclasses import dataclass
from typing import Literal, NamedTuple
from zlib import crc32

MAGIC = b"ATELIERP"
VERSION = 1
START = len(MAGIC) + 2 + 4
Kind = Literal["block", "state"]
KINDS: tuple[Kind, ...] = ("block", "state")


class Corrupt(ValueError):
    """The bytes are not what was written, or were written for something else."""


class Buffer(NamedTuple):
    """Raw bytes of one array; type and shape are the engine's own words, for types that only it knows."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes | memoryview


@dataclass(slots=True, frozen=True)
class Stored:
    """A block's keys and values, or a checkpoint's state, with what the index needs to take it back."""

    kind: Kind
    key: bytes
    parent: bytes
    """Key of the block before it, or of the root; of a state, of the last full block before its position."""
    label: bytes
    """Its tokens, as `Chain.label` writes them."""
    tokens: int
    """In the block; of a state, its position in the chain."""
    buffers: list[Buffer]

    @property
    def bytes(self) -> int:
        """Of the buffers."""
        return sum(memoryview(buffer.data).nbytes for buffer in self.buffers)


def encode(stored: Stored, fingerprint: bytes) -> list[bytes | memoryview]:
    """The file's pieces, in order; the buffers, which have to be contiguous, are not copied."""
    views = [memoryview(buffer.data).cast("B") for buffer in stored.buffers]
    layout = [(buffer.dtype, buffer.shape, view.nbytes) for buffer, view in zip(stored.buffers, views, strict=True)]
    header = json.dumps(
        {
            "fingerprint": fingerprint.hex(),
            "kind": stored.kind,
            "key": stored.key.hex(),
            "parent": stored.parent.hex(),
            "label": stored.label.hex(),
            "tokens": stored.tokens,
            "buffers": layout,
        }
    ).encode()
    start = MAGIC + VERSION.to_bytes(2, "little") + len(header).to_bytes(4, "little")
    pieces: list[bytes | memoryview] = [start, header, *views]
    checksum = 0
    for piece in pieces:
        checksum = crc32(piece, checksum)
    return [*pieces, checksum.to_bytes(4, "little")]


def decode(data: bytes, fingerprint: bytes) -> Stored:
    """The buffers are views into `data`. Raises Corrupt."""
    view = memoryview(data)
    if data[: len(MAGIC)] != MAGIC or data[len(MAGIC) : START - 4] != VERSION.to_bytes(2, "little"):
        raise Corrupt("not a file of this version")
    if crc32(view[:-4]).to_bytes(4, "little") != data[-4:]:
        raise Corrupt("the checksum differs")
    edge = START + int.from_bytes(data[START - 4 : START], "little")
    header = json.loads(data[START:edge])
    if header["fingerprint"] != fingerprint.hex():
        raise Corrupt("written by another model")
    buffers = []
    for dtype, shape, length in header["buffers"]:
        buffers.append(Buffer(dtype, tuple(shape), view[edge : edge + length]))
        edge += length
    key, parent, label = (bytes.fromhex(header[name]) for name in ("key", "parent", "label"))
    return Stored(header["kind"], key, parent, label, header["tokens"], buffers)
