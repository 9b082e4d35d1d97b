"""What can go wrong with a hub, in words for whoever asked."""

from typing import Literal

Code = Literal[
    "offline", "unreachable", "busy", "not_found", "no_revision", "gated", "forbidden", "refused", "corrupt", "no_room",
    "broken",
]  # fmt: skip
"""offline: nothing may be asked for. unreachable: no answer, or none that makes sense, again and again. busy: it asks
to come back later. refused: nothing in it could be served. no_room: of the disk. broken: anything else."""


class HubError(Exception):
    """The message says what to do. It has no address with a signature, and no token, in it."""

    def __init__(self, code: Code, message: str):
        super().__init__(message)
        self.code: Code = code


class Again(Exception):
    """Worth another attempt."""

    def __init__(self, reason: str, *, after: float | None = None, code: Code = "unreachable"):
        """after: seconds, where the server has named them."""
        super().__init__(reason)
        self.after = after
        self.code: Code = code


class Stopped(Exception):
    """Somebody has asked to stop. What was fetched stays."""
