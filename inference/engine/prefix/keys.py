"""What a block is called: SHA-256 chained over its parent's key and its own content.

A block's keys and values depend on everything before it, so its name does too: the same 32 tokens after another
beginning, for another team, model or picture have another key. (The scheme is vLLM's automatic prefix caching's,
`vllm/v1/core/kv_cache_utils.py`; the content of a block with pictures is this project's.)
"""

import sys
from array import array
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

TOKEN_BYTES = 4
MARK_BYTES = 32


class Media(NamedTuple):
    """A picture, video or sound in the prompt: its tokens are [start, end), its content hashes to `digest`."""

    start: int
    end: int
    digest: bytes


def root(
    *, model: str, revision: str = "", adapter: str = "", kv: str = "", salt: str | bytes = b"", media: str = ""
) -> bytes:
    """The key that a chain starts from, 32 bytes. What differs here never shares a block.

    `model` and `revision` name the weights, `adapter` the LoRA on top, `kv` the type and quantisation of the stored
    keys and values, `salt` the team, `media` the settings of the picture processor. Every field enters with its
    length, so that no two lists of fields hash alike.
    """
    seed = sha256(b"atelier prefix 1")
    for field in (model, revision, adapter, kv, salt, media):
        data = field.encode() if isinstance(field, str) else field
        seed.update(len(data).to_bytes(8, "little"))
        seed.update(data)
    return seed.digest()


class Chain:
    """A sequence's tokens and the keys of its full blocks; grows as tokens are generated.

    A sequence that begins with what is everybody's has a mark, too, where its own part begins: the hash of its salt.
    All behind it is told apart by that, also where two sequences part within a block.

    A block's content is its *label*: the tokens as little-endian uint32, with a mark of 32 bytes before the first token
    in the block that a picture covers. The mark hashes the picture and the whole of its span. The label of fewer tokens
    is always a prefix of the label of more, so the leading tokens that two blocks share can be read off the bytes.
    """

    __slots__ = ("_data", "_marks", "keys", "own_from", "root", "size")

    def __init__(
        self,
        root: bytes,
        size: int,
        media: Iterable[Media | tuple[int, int, bytes]] = (),
        own: tuple[int, bytes] | None = None,
    ):
        """own: the token from which on the sequence is of one salt only, and that salt; None: its root says whose it
        is. Raises ValueError for a span that is empty or starts before the first token."""
        self.root = root
        self.own_from = None if own is None else own[0]
        self.size = size
        """Tokens per block."""
        self.keys: list[bytes] = []
        """One per full block."""
        self._data = bytearray()
        self._marks = _marks_by_block(media, size)
        if own is not None:
            block, offset = divmod(own[0], size)
            self._marks[block] = sorted([*self._marks.get(block, []), (offset, sha256(b"own" + own[1]).digest())])

    def __len__(self) -> int:
        """In tokens."""
        return len(self._data) // TOKEN_BYTES

    def extend(self, tokens: Sequence[int]) -> None:
        """Raises OverflowError for a token that is not a uint32."""
        words = array("I", tokens)
        if sys.byteorder == "big":
            words.byteswap()
        self._data += words.tobytes()
        key = self.keys[-1] if self.keys else self.root
        for block in range(len(self.keys), len(self) // self.size):
            key = sha256(key + self.label(block)).digest()
            self.keys.append(key)

    def label(self, block: int, end: int | None = None) -> bytes:
        """The content of the block's tokens before token `end` of the sequence (default: all that there are)."""
        first = block * self.size
        last = first + self.size if end is None else min(first + self.size, end)
        data = bytes(self._data[first * TOKEN_BYTES : last * TOKEN_BYTES])
        marks = self._marks.get(block)
        if not marks:
            return data
        pieces, done = [], 0
        for offset, mark in marks:
            if first + offset < last:
                pieces += [data[done : offset * TOKEN_BYTES], mark]
                done = offset * TOKEN_BYTES
        return b"".join([*pieces, data[done:]])

    def tokens_within(self, block: int, length: int) -> int:
        """How many whole tokens the first `length` bytes of the block's label hold."""
        for offset, _ in self._marks.get(block, ()):
            if length < offset * TOKEN_BYTES + MARK_BYTES:
                return min(length // TOKEN_BYTES, offset)
            length -= MARK_BYTES
        return length // TOKEN_BYTES

    def key_at(self, tokens: int) -> bytes:
        """The key of the chain's first `tokens` tokens, whether or not they end with a full block."""
        blocks, rest = divmod(tokens, self.size)
        key = self.keys[blocks - 1] if blocks else self.root
        return sha256(key + self.label(blocks, tokens)).digest() if rest else key


def chain(root: bytes, tokens: Sequence[int], size: int, media: Iterable[Media | tuple[int, int, bytes]] = ()) -> Chain:
    """The chain of a prompt. Hashing 10,000 tokens takes well under a millisecond."""
    made = Chain(root, size, media)
    made.extend(tokens)
    return made


def _marks_by_block(media: Iterable[Media | tuple[int, int, bytes]], size: int) -> dict[int, list[tuple[int, bytes]]]:
    """For each block that a span touches: (offset in the block of the first covered token, mark), in order."""
    marks: dict[int, list[tuple[int, bytes]]] = {}
    for start, end, digest in sorted(media):
        if not 0 <= start < end:
            raise ValueError(f"A picture can't cover the tokens from {start} to {end}.")
        mark = sha256(start.to_bytes(8, "little") + end.to_bytes(8, "little") + digest).digest()
        for block in range(start // size, (end - 1) // size + 1):
            marks.setdefault(block, []).append((max(0, start - block * size), mark))
    return marks
