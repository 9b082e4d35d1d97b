"""What pictures become: for each of their tokens, what the language model is given in an embedding's place."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from inference.engine.prefix.keys import Media
from inference.engine.vision.whole import Whole

Places = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Of one picture's tokens.

    rows [tokens, width]: in place of their embeddings; deep [levels][tokens, width]: added to what the first layers
    make of them (deepstack), empty for models without.
    """

    rows: mx.array
    deep: tuple[mx.array, ...] = ()

    @property
    def nbytes(self) -> int:
        return int(self.rows.nbytes + sum(level.nbytes for level in self.deep))


@dataclass(slots=True, eq=False)
class Picture:
    """One in a prompt. first, last: its tokens, among all of the prompt's that stand for pictures."""

    digest: bytes
    """Of its content, and of all that its features depend on."""
    first: int
    last: int
    inputs: dict[str, NDArray[np.generic]]
    """What the model's processor made of it by itself; emptied once it has been looked at."""
    features: Features | None = None


@dataclass(slots=True, eq=False)
class Seen:
    """A prompt's pictures. places int32 [tokens]: where the tokens that stand for them are; positions int32
    [axes, tokens of the prompt], for models that number tokens along several axes; shift: by how much the position of
    what follows differs from the count of tokens before it."""

    pictures: list[Picture]
    places: Places
    positions: Places | None = None
    shift: int = 0
    media: list[Media] = field(init=False)
    """What the prefix cache knows the pictures by."""

    def __post_init__(self) -> None:
        self.media = [
            Media(int(self.places[each.first]), int(self.places[each.last - 1]) + 1, each.digest)
            for each in self.pictures
        ]

    def unseen(self, start: int) -> list[Picture]:
        """Those with tokens at `start` or after that have not been looked at."""
        return [each for each in self.pictures if each.features is None and int(self.places[each.last - 1]) >= start]

    def within(self, start: int, end: int) -> list[tuple[int, Features, int, int]]:
        """What the tokens [start, end) need: (where the first goes, features, which of its tokens, to which), tokens
        that lie side by side at a time."""
        found: list[tuple[int, Features, int, int]] = []
        for picture in self.pictures:
            own = self.places[picture.first : picture.last]
            low, high = int(np.searchsorted(own, start)), int(np.searchsorted(own, end))
            if low == high:
                continue
            assert picture.features is not None, "a picture that nobody has looked at"
            # Some models write rows of pictures on lines of their own, with other tokens between.
            breaks = np.flatnonzero(np.diff(own[low:high]) != 1) + 1
            for part in np.split(np.arange(low, high), breaks):
                found.append((int(own[part[0]]), picture.features, int(part[0]), int(part[-1]) + 1))
        return found


@dataclass(slots=True)
class Given:
    """What a step gives the language model beside tokens; see `Speaker`. at int32 [seen]: which of the step's tokens
    stand for pictures; rows and deep as in Features, for these; positions int32 [axes, tokens]; whole: all of a prompt,
    for a model that runs one row at a time, and then nothing else."""

    at: mx.array | None = None
    rows: mx.array | None = None
    deep: tuple[mx.array, ...] = ()
    positions: mx.array | None = None
    whole: Whole | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """Tokens [start, end) of a sequence that are fed one after another. seen: its pictures, if it has any."""

    seen: Seen | Whole | None
    start: int
    end: int


def given(stretches: Sequence[Stretch], *, axes: int) -> Given | None:
    """What these tokens, fed one stretch after another, need beside themselves; None: nothing. axes: along which the
    model numbers tokens, 0 for one that counts them."""
    if all(stretch.seen is None for stretch in stretches):
        return None
    if isinstance(whole := stretches[0].seen, Whole):
        return Given(whole=whole)
    at: list[Places] = []
    rows: list[mx.array] = []
    deep: list[tuple[mx.array, ...]] = []
    positions: list[Places] = []
    fed = 0
    for stretch in stretches:
        count = stretch.end - stretch.start
        seen = stretch.seen if isinstance(stretch.seen, Seen) else None
        for place, features, low, high in seen.within(stretch.start, stretch.end) if seen else ():
            first = fed + place - stretch.start
            at.append(np.arange(first, first + high - low, dtype=np.int32))
            rows.append(features.rows[low:high])
            deep.append(tuple(level[low:high] for level in features.deep))
        positions.append(positions_of(stretch, axes))
        fed += count
    return Given(
        at=mx.array(np.concatenate(at)) if at else None,
        rows=mx.concatenate(rows) if rows else None,
        deep=tuple(mx.concatenate(list(level)) for level in zip(*deep, strict=True)),
        positions=mx.array(np.concatenate(positions, axis=1)) if axes else None,
    )


def positions_of(stretch: Stretch, axes: int) -> Places:
    """int32 [axes, tokens]."""
    seen, start, end = stretch.seen, stretch.start, stretch.end
    assert not isinstance(seen, Whole)
    known = 0
    if seen is not None and seen.positions is not None:
        known = max(0, min(end, seen.positions.shape[1]) - start)
    shift = seen.shift if seen is not None else 0
    counted = np.arange(start + known, end, dtype=np.int32) + np.int32(shift)
    after = np.broadcast_to(counted, (axes, end - start - known))
    if not known or seen is None or seen.positions is None:
        return after
    return np.concatenate([seen.positions[:, start : start + known], after], axis=1)
