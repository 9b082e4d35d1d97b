"""What may be wrong with media, in words for the client who sent them."""

UNREADABLE = "media_unreadable"
"""Damaged, empty, not of the kind it was sent as, or the death of the decoder."""
UNSUPPORTED = "media_unsupported"
"""Of a format that is not read here."""
TOO_LARGE = "media_too_large"
"""More pixels, frames, seconds or memory than allowed."""
OUR_FAULT = "engine_error"
"""No decoder could be started."""

HUNGRY = "Decoding it needs more memory than this server gives it; send something smaller."


class MediaError(Exception):
    """message: for the client. Never a path, nor a word of the libraries that decode."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def unreadable(message: str) -> MediaError:
    return MediaError(UNREADABLE, message)


def unsupported(message: str) -> MediaError:
    return MediaError(UNSUPPORTED, message)


def too_large(message: str) -> MediaError:
    return MediaError(TOO_LARGE, message)
