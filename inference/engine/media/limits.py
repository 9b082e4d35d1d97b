"""How much one picture, clip or sound may be, and what decoding it may take."""

import msgspec

MB = 1024 * 1024


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    image_pixels: int = 50_000_000
    image_side: int = 16_384
    """Pixels of the longer side."""
    video_pixels: int = 9_000_000
    """Of a frame as it was recorded: 4096×2160 and a little more."""
    video_shown_pixels: int = 1920 * 1080
    """Of a frame as it is handed out; larger ones are scaled down. No model looks closer."""
    video_seconds: float = 1800.0
    video_source_frames: int = 250_000
    video_frames: int = 768
    """Handed out of one clip."""
    video_bytes: int = 512 * MB
    """Of the pixels that are handed out of one clip."""
    animation_frames: int = 2_000
    """Of a GIF, WebP or PNG. All of them have to be decoded, twice."""
    audio_seconds: float = 3600.0
    image_time: float = 20.0
    """Seconds that decoding may take; so the next."""
    video_time: float = 60.0
    audio_time: float = 60.0
    memory_bytes: int = 2048 * MB
    """Of the decoding process, the 250 MB of address space that it has from its libraries included."""
    resting_bytes: int = 320 * MB
    """A process that still holds more after a job than this is replaced."""

    @property
    def image_bytes(self) -> int:
        return 3 * self.image_pixels

    def audio_bytes(self, rate: int) -> int:
        return 4 * int(self.audio_seconds * rate)
