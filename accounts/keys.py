"""API keys as text: `sk-atelier-`, 40 random base62 characters, then 6 of the CRC32 of all that precedes.

The checksum lets a typo be refused without a query and a secret scanner tell a key from noise. A key carries 238
random bits, so a fast keyed digest protects it as well as a slow password hash would.
"""

import re
import secrets
import string
import zlib

from django.utils.crypto import salted_hmac

PREFIX = "sk-atelier-"
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_LENGTH = 40
CHECKSUM_LENGTH = 6
VISIBLE_LENGTH = len(PREFIX) + 4

SHAPE = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{RANDOM_LENGTH + CHECKSUM_LENGTH}}}")


def generate() -> str:
    """A new key, from the system's random source."""
    stem = PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))
    return stem + checksum(stem)


def checksum(stem: str) -> str:
    """The CRC32 of an ASCII text as base62, most significant digit first."""
    rest, digits = zlib.crc32(stem.encode("ascii")), ""
    for _ in range(CHECKSUM_LENGTH):
        rest, digit = divmod(rest, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits


def is_well_formed(key: str) -> bool:
    """Whether it could be a key at all: prefix, length, alphabet and checksum. No query, any text allowed."""
    return bool(SHAPE.fullmatch(key)) and checksum(key[:-CHECKSUM_LENGTH]) == key[-CHECKSUM_LENGTH:]


def digest(key: str) -> str:
    """What is stored and looked up: 64 hex digits of HMAC-SHA256 under a pepper derived from SECRET_KEY."""
    return salted_hmac("accounts.keys", key, algorithm="sha256").hexdigest()


def visible_prefix(key: str) -> str:
    """How a key is named where people see it, such as `sk-atelier-AbCd`."""
    return key[:VISIBLE_LENGTH]
