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
LACKS = {Kind.IMAGE: "sees no pictures", Kind.VIDEO: "sees no videos", Kind.AUDIO: "hears no sounds"}


def invalid(where: str, what: str) -> ApiError:
    return errors.invalid(f"`{where}` {what}.", param=where, code=INVALID)


def forbidden(where: str, what: str) -> ApiError:
    return errors.invalid(f"`{where}` {what}.", param=where, code=FORBIDDEN)


def fetch_failed(where: str, what: str) -> ApiError:
    return errors.invalid(f"`{where}` could not be fetched: {what}.", param=where, code=FETCH_FAILED)


def not_taken(model: str, where: str, kind: Kind) -> ApiError:
    """By this model."""
    return errors.invalid(
        f"`{where}`: {errors.quote(model)} {LACKS[kind]}; ask a model whose `modalities` in `GET /v1/models` have "
        f"`{kind}`.",
        param=where,
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


def too_large_to_keep(where: str, most: int) -> ApiError:
    return errors.invalid(
        f"`{where}`: the pictures of this conversation are more than the {most // MB} MB that are kept of one "
        "(ATELIER_MAX_BODY_MB). Send `store: false`, or the pictures by address.",
        param=where,
        code=TOO_LARGE,
    )


def too_many(where: str, most: int) -> ApiError:
    return errors.invalid(
        f"`{where}` is one too many: a request may have {most} pictures, videos and sounds here (ATELIER_MAX_MEDIA).",
        param=where,
        code=TOO_MANY,
    )
