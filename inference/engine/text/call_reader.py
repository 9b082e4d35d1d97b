"""What all readers of calls have in common, whatever the calls are written as."""

from abc import ABC, abstractmethod
from typing import NamedTuple, Protocol


class Piece(NamedTuple):
    """More of a call; the first of each has its name, and an id if the model gave one."""

    name: str | None
    id: str | None
    arguments: str


class Reader(Protocol):
    """Of one body. What it makes of it does not depend on how the text was split."""

    @property
    def quoting(self) -> bool:
        """A mark that comes now may be a part of an argument."""

    @property
    def settled(self) -> bool:
        """Something was called, and all that has come is whole calls."""

    def push(self, text: str) -> list[Piece]:
        """More of the body."""

    def finish(self) -> list[Piece]:
        """The body is whole."""


class SteppingReader(ABC):
    """Goes from one decision to the next, each of which falls at certain characters."""

    def __init__(self) -> None:
        self._rest = ""
        """What nothing has been decided about yet."""

    def push(self, text: str) -> list[Piece]:
        self._rest += text
        pieces: list[Piece] = []
        while self._rest and self._step(pieces):
            pass
        return pieces

    @abstractmethod
    def _step(self, pieces: list[Piece]) -> bool:
        """Whether it got on, and may again."""
