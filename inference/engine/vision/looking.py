"""The stage before the queue: the pictures of a prompt are looked at, while others go on decoding."""

import logging
from collections import Counter
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING

from inference.engine.output import End, Failure, Output
from inference.engine.roster import Roster
from inference.engine.sequence import Sequence
from inference.engine.vision.features import Seen

if TYPE_CHECKING:
    from inference.engine.vision.eye import Eye

AHEAD_BYTES = 256 << 20
"""Of features of requests that wait for a row."""

log = logging.getLogger(__name__)


class Looking:
    """The step thread's. breathe: one turn of all others, called between parts of the encoder's work; most: so many may
    wait, as long as the room for their pictures lasts."""

    def __init__(self, eye: "Eye", roster: Roster, output: Output, *, breathe: Callable[[], None], most: int):
        self._eye = eye
        self._roster = roster
        self._output = output
        self._breathe = breathe
        self._most = most
        self._waiting: list[Sequence] = []
        self._served: Counter[str] = Counter()
        """Tokens of pictures by user, while anybody waits: the least served goes first."""
        self._busy = False

    def __bool__(self) -> bool:
        """Whether there is anything to do: those that are held wait for somebody else."""
        return not all(each.request.held for each in self._waiting)

    def add(self, sequence: Sequence) -> None:
        if len(self._waiting) >= self._most:
            refusal = f"{self._most} requests with pictures are waiting already. Try again in a moment."
            self._roster.refuse(sequence, "server_is_overloaded", refusal, self._roster.room.wait())
            return
        if self._waiting and sum(map(_bytes, (*self._waiting, sequence))) > self._eye.room.waiting:
            refusal = "The pictures that wait to be looked at fill their room. Try again in a moment."
            self._roster.refuse(sequence, "server_is_overloaded", refusal, self._roster.room.wait())
            return
        self._waiting.append(sequence)

    def cancel(self, wanted: Callable[[Sequence], bool]) -> None:
        for sequence in [each for each in self._waiting if wanted(each)]:
            self._waiting.remove(sequence)
            sequence.ended = True
            self._output.put(End(sequence, "cancelled"))

    def proceed(self, wanted: Callable[[Sequence], bool]) -> None:
        for sequence in filter(wanted, self._waiting):
            sequence.request.held = False

    def step(self) -> None:
        """Looks at another picture, or hands a sequence on that lacks none. Called again by `breathe`, it does
        nothing."""
        if self._busy:
            return
        self._expire()
        if not self:
            self._served.clear()
            return
        ready = [each for each in self._waiting if not each.request.held]
        sequence = min(ready, key=lambda each: (self._served[each.user], each.received))
        assert sequence.seen is not None
        missing = sequence.seen.unseen(self._roster.found(sequence))
        if not missing:
            self._waiting.remove(sequence)
            self._roster.add(sequence)
            return
        if self._ahead() > AHEAD_BYTES:
            # Those wait for a row: one more would only wait longer, and hold memory meanwhile.
            return
        self._busy = True
        try:
            self._eye.look(missing[0], sequence.salt, self._breathe)
        except Exception as error:
            log.error("a picture of request %s can't be looked at: %s", sequence.id, type(error).__name__)
            if sequence in self._waiting:
                self._waiting.remove(sequence)
                self._roster.refuse(sequence, "engine_error", "The engine failed on a picture of this request.")
        finally:
            self._busy = False
        self._served[sequence.user] += missing[0].last - missing[0].first

    def _ahead(self) -> int:
        """Bytes of features of requests that have been looked at and wait for a row."""
        return sum(
            picture.features.nbytes
            for sequence in self._roster.live.values()
            if sequence.row is None and isinstance(sequence.seen, Seen)
            for picture in sequence.seen.pictures
            if picture.features is not None
        )

    def _expire(self) -> None:
        now = perf_counter()
        for sequence in [each for each in self._waiting if each.deadline is not None and each.deadline <= now]:
            self._waiting.remove(sequence)
            seconds = now - sequence.received
            message = f"The request has taken {seconds:.0f} s, which is its timeout (--timeout)."
            self._output.put(Failure(sequence, "timeout", message))


def _bytes(sequence: Sequence) -> int:
    """Of its pictures, as they wait to be looked at."""
    pictures = sequence.seen.pictures if isinstance(sequence.seen, Seen) else ()
    return sum(int(value.nbytes) for picture in pictures for value in picture.inputs.values())
