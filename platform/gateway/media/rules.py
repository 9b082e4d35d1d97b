"""What requests may name, and how much of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from django.conf import settings

MB = 1024 * 1024


class Kind(StrEnum):
    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"


SETTINGS = {
    Kind.IMAGE: "ATELIER_MAX_IMAGE_MB",
    Kind.VIDEO: "ATELIER_MAX_VIDEO_MB",
    Kind.AUDIO: "ATELIER_MAX_AUDIO_MB",
}


@dataclass(frozen=True, slots=True)
class Rules:
    folder: Path | None
    """Where files may lie that requests name by path; resolved."""
    hosts: Collection[tuple[str, int | None]]
    """Whose addresses may be private; None is every port."""
    largest: Mapping[Kind, int]
    """Bytes of one of a kind."""
    most: int
    """Of all kinds, in one request."""
    seconds: float
    """That fetching one may take."""

    @property
    def together(self) -> int:
        """Bytes of all that one request may bring or have fetched."""
        return max(self.largest.values())

    def lists(self, host: str, port: int) -> bool:
        return (host, None) in self.hosts or (host, port) in self.hosts


def from_settings() -> Rules:
    return Rules(
        folder=settings.MEDIA_DIR,
        hosts=frozenset(settings.ALLOW_MEDIA_HOSTS),
        largest={
            Kind.IMAGE: settings.MAX_IMAGE_BYTES,
            Kind.VIDEO: settings.MAX_VIDEO_BYTES,
            Kind.AUDIO: settings.MAX_AUDIO_BYTES,
        },
        most=settings.MAX_MEDIA,
        seconds=settings.MEDIA_TIMEOUT_SECONDS,
    )
