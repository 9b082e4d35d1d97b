"""What may be wrong with media before anybody looks into them. Each names its field, none an address."""

from gateway import errors
from gateway.errors import ApiError
from gateway.media.rules import MB, SETTINGS, Kind

INVALID = "invalid_media"
"""It can't be understood what is meant."""
FORBIDDEN = "media_url_forbidden"
"""It is understood, and may not be looked at."""
FETCH_FAILED = "media_fetch_failed"
TOO_LARGE = "media_too_large"
TOO_MANY = "too_many_media"
SHOWN = {Kind.IMAGE: "pictures", Kind.VIDEO: "videos"}


def invalid(where: str, what: str) -> ApiError:
    return errors.invalid(f"`{where}` {what}.", param=where, code=INVALID)


def forbidden(where: str, what: str) -> ApiError:
    return errors.invalid(f"`{where}` {what}.", param=where, code=FORBIDDEN)


def fetch_failed(where: str, what: str) -> ApiError:
    return errors.invalid(f"`{where}` could not be fetched: {what}.", param=where, code=FETCH_FAILED)


def sees_nothing(model: str, where: str, kind: Kind) -> ApiError:
    """Of a model of another kind than `vision`."""
    return errors.invalid(
        f"`{where}`: {errors.quote(model)} sees no {SHOWN[kind]}; ask a model of the kind `vision`.", param=where
    )


def too_large(where: str, kind: Kind, most: int) -> ApiError:
    return errors.invalid(
        f"`{where}` is larger than {most // MB} MB, the limit of this server ({SETTINGS[kind]}).",
        param=where,
        code=TOO_LARGE,
    )


def too_large_together(where: str, most: int) -> ApiError:
    return errors.invalid(
        f"`{where}` is too much: all media of a request may have {most // MB} MB together.",
        param=where,
        code=TOO_LARGE,
    )


def too_many(where: str, most: int) -> ApiError:
    return errors.invalid(
        f"`{where}` is one too many: a request may have {most} pictures, videos and sounds here (ATELIER_MAX_MEDIA).",
        param=where,
        code=TOO_MANY,
    )
