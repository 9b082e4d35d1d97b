"""The batch's sampler: logits in, one token per row out, nothing evaluated on the way."""

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from inference.engine.sampling.bias import Biases
from inference.engine.sampling.draw import uniforms
from inference.engine.sampling.groups import Way, draw, draw_whole, way_of
from inference.engine.sampling.history import History, Penalties, has_penalty
from inference.engine.sampling.logprobs import Logprobs, Wanted
from inference.engine.sampling.masks import Lanes, Masks, apply_masks
from inference.engine.sampling.ranking import ID_BITS
from inference.engine.sampling.truncation import Chance, Settings


@dataclass(slots=True)
class _Group:
    """Rows that are drawn in one way: their places in the batch and their settings."""

    way: Way
    places: list[int]
    settings: Settings
    at: mx.array | None
    """`places`, int32 [group]; None where they are the whole batch in its order."""

    def of(self, logits: mx.array) -> mx.array:
        return logits if self.at is None else logits[self.at]


@dataclass(slots=True)
class _Doubt:
    """What a second draw needs of the rows whose first may not be certain."""

    places: list[int]
    logits: mx.array
    """float32 [group, vocab]"""
    chance: Chance
    answers: mx.array
    """int32 [group], the second draws: read by `Drawn.tokens` where the first was not certain."""


@dataclass(slots=True)
class Drawn:
    """One draw of every row, lazy.

    Where `exact` is not None, `tokens` and all that is built on them (the next step, the history) must not be
    evaluated before `settle()`. It may be built before, and should be, for then the host works while the device does:

        drawn = sampler(logits, history)      # step n
        mx.async_eval(drawn.beginning())
        ...                                   # build step n + 1 on drawn.tokens
        drawn.settle()
        mx.async_eval(drawn.arrays(), history.arrays(), ...)
    """

    tokens: mx.array
    """int32 [rows], always inside the vocabulary."""
    finite: mx.array
    """bool [rows]: False where there was nothing to draw from, NaN or infinity or nothing allowed. That row fails."""
    logprobs: Logprobs | None
    exact: mx.array | None
    """bool [rows]: False where the first draw was not certain; None where every one is by its method."""
    doubt: _Doubt | None = None

    def beginning(self) -> list[mx.array]:
        """What may be evaluated at once: the model's whole step, and the draw as far as it is certain."""
        return self.arrays() if self.doubt is None or self.exact is None else [self.exact, self.finite]

    def settle(self) -> list[int]:
        """Draws again, from the whole vocabulary, for the rows that need it, and returns their places. Blocks until
        this draw's logits are computed; does nothing where `exact` is None and when called again."""
        if self.doubt is None or self.exact is None:
            return []
        doubt, self.doubt = self.doubt, None
        exact = np.array(self.exact)
        again = [i for i, place in enumerate(doubt.places) if not exact[place]]
        if again:
            ids = draw_whole(doubt.logits[mx.array(again, mx.int32)], doubt.chance.select(again))
            # Into the buffer that the graph of `tokens` reads: the arrays built on it stay as they are.
            np.array(doubt.answers, copy=False)[again] = np.array(ids[:, 0])
        return [doubt.places[i] for i in again]

    def arrays(self) -> list[mx.array]:
        """All that is to be evaluated, once settled."""
        if self.doubt is not None:
            raise RuntimeError("a draw in doubt is evaluated after settle()")
        return [self.tokens, self.finite, *(self.logprobs.arrays() if self.logprobs else [])]


class Sampler:
    """Draws the next token of every row of a batch. Rebuilt whenever the batch's rows change."""

    def __init__(
        self,
        rows: Lanes,
        vocab: int,
        *,
        masks: Masks | None = None,
        protected: tuple[int, ...] = (),
    ):
        """`protected` are the tokens that XTC may not remove: those that end an answer, and the newline."""
        assert vocab <= 2**ID_BITS, f"a vocabulary of {vocab} tokens, more than {2**ID_BITS}"
        self._rows = rows
        self._masks = masks
        ways = [None if row is None else way_of(row.sampling, vocab) for row in rows]
        self._groups = [
            self._group(way, [place for place, each in enumerate(ways) if each is way], vocab)
            for way in Way
            if way in ways
        ]
        self._greedy = [place for place, way in enumerate(ways) if way is None]
        order = self._greedy + [place for group in self._groups for place in group.places]
        self._order = None if order == sorted(order) else mx.array(np.argsort(order).astype(np.int32))
        self._protected = mx.zeros((vocab,), mx.bool_)
        if inside := [token for token in protected if 0 <= token < vocab]:
            self._protected[mx.array(inside, mx.int32)] = True
        self._biases = Biases(rows, vocab)
        self._penalised = [(i, row) for i, row in enumerate(rows) if row is not None and has_penalty(row.sampling)]
        self._penalties = Penalties([row.sampling for _, row in self._penalised])
        self._penalised_at = mx.array([place for place, _ in self._penalised], mx.int32)
        self._wanted = Wanted(rows)

    def __call__(self, logits: mx.array, history: History) -> Drawn:
        """logits [rows, vocab], any float -> the rows' next tokens, at the positions `row.launched`."""
        raw = logits.astype(mx.float32)
        lines = history.lines([row for _, row in self._penalised]) if self._penalised else None
        logits = self._shaped(raw, history, lines)
        finite = mx.isfinite(mx.max(logits, axis=-1))  # a maximum with a NaN among its numbers is NaN, on every backend
        tokens, exact, doubt = self._drawn(logits, finite)
        # A row without a distribution may draw anything; whatever reads its token must find one.
        tokens = mx.where(finite, tokens, 0)
        if lines is not None:
            history.append(lines, tokens[self._penalised_at])
        return Drawn(tokens, finite, self._wanted(raw, tokens), exact, doubt)

    def _shaped(self, logits: mx.array, history: History, lines: mx.array | None) -> mx.array:
        """Penalties, biases, grammar: float32 [rows, vocab] to the same."""
        if lines is not None:
            at = self._penalised_at
            penalised = history.penalise(logits[at], lines, self._penalties)
            logits = (
                penalised
                if len(self._penalised) == len(self._rows)
                else mx.put_along_axis(logits, mx.broadcast_to(at[:, None], penalised.shape), penalised, axis=0)
            )
        logits = self._biases.apply(logits)
        return apply_masks(logits, self._rows, self._masks) if self._masks is not None else logits

    def _drawn(self, logits: mx.array, finite: mx.array) -> tuple[mx.array, mx.array | None, _Doubt | None]:
        """Tokens int32 [rows], and which of them are certain."""
        pieces, doubt, exact = [], None, None
        if len(self._greedy) == len(self._rows):
            return mx.argmax(logits, axis=-1).astype(mx.int32), None, None
        if self._greedy:
            pieces.append(mx.argmax(logits, axis=-1)[mx.array(self._greedy, mx.int32)].astype(mx.int32))
        for group in self._groups:
            rows = [row for i in group.places if (row := self._rows[i]) is not None]
            chance = Chance(
                group.settings,
                uniforms([row.sampling.seed for row in rows], [row.launched for row in rows]),
                self._protected,
            )
            theirs = group.of(logits)
            ids, certain = draw(group.way, theirs, chance)
            piece = mx.clip(ids[:, 0], 0, logits.shape[-1] - 1).astype(mx.int32)
            if certain is not None:
                exact = mx.ones((len(self._rows),), mx.bool_)
                exact[mx.array(group.places, mx.int32)] = certain[:, 0]
                exact = exact | ~finite
                doubt = _Doubt(group.places, theirs, chance, mx.array([0] * len(rows), mx.int32))
                piece = mx.where(certain[:, 0], piece, doubt.answers)
            pieces.append(piece)
        tokens = pieces[0] if len(pieces) == 1 else mx.concatenate(pieces)
        return tokens if self._order is None else tokens[self._order], exact, doubt

    def _group(self, way: Way, places: list[int], vocab: int) -> _Group:
        rows = [row.sampling for i in places if (row := self._rows[i]) is not None]
        everyone = len(places) == len(self._rows)
        return _Group(way, places, Settings(rows, vocab), None if everyone else mx.array(places, mx.int32))
