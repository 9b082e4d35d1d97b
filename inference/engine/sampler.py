"""From logits to one token per row, every row by its own settings.

Greedy rows are an argmax; only hot rows are drawn. A draw is one uniform number per row, keyed by (seed, position),
put through the inverse of the cumulative distribution: what else runs in the batch never enters it.
"""

from dataclasses import dataclass

import mlx.core as mx

from inference.engine.protocol import Sampling
from inference.engine.sequence import Sequence


@dataclass(slots=True)
class _Hot:
    """Rows that are drawn in one way: their places in the batch and their settings, each [hot]."""

    rows: list[Sequence]
    places: mx.array
    temperature: mx.array
    top_p: mx.array
    top_k: mx.array
    min_p: mx.array
    truncated: bool


class Sampler:
    """Draws the next token of every row of a batch. Rebuilt whenever the batch's rows change."""

    def __init__(self, rows: list[Sequence], vocab: int):
        self._rows = rows
        self._vocab = vocab
        hot = [i for i, row in enumerate(rows) if row.sampling.temperature > 0]
        cut = [i for i in hot if is_truncated(rows[i].sampling)]
        free = [i for i in hot if not is_truncated(rows[i].sampling)]
        # Two groups, for each row is drawn in the way its own settings ask for, whatever its neighbours want.
        self._hot = [self._settings(places, truncated) for places, truncated in ((free, False), (cut, True)) if places]
        self._bias = self._biases()
        self._penalised = [i for i, row in enumerate(rows) if has_penalty(row.sampling)]

    def __call__(self, logits: mx.array, history: "History") -> mx.array:
        """logits [rows, vocab] -> tokens [rows], int32. Lazy: nothing is evaluated."""
        logits = logits.astype(mx.float32)
        for place in self._penalised:
            row = self._rows[place]
            logits[place] = history.penalise(row, logits[place])
        if self._bias is not None:
            at, tokens, values = self._bias
            logits = logits.at[at, tokens].add(values)
        tokens = mx.argmax(logits, axis=-1).astype(mx.int32)
        for hot in self._hot:
            tokens[hot.places] = _draw(logits[hot.places], hot)
        for place in self._penalised:
            history.append(self._rows[place], tokens[place])
        return tokens

    def _settings(self, places: list[int], truncated: bool) -> _Hot:
        rows = [self._rows[i] for i in places]
        all_of = [row.sampling for row in rows]
        return _Hot(
            rows=rows,
            places=mx.array(places, mx.int32),
            temperature=mx.array([s.temperature for s in all_of]),
            top_p=mx.array([s.top_p for s in all_of]),
            top_k=mx.array([s.top_k or self._vocab for s in all_of]),
            min_p=mx.array([s.min_p for s in all_of]),
            truncated=truncated,
        )

    def _biases(self) -> tuple[mx.array, mx.array, mx.array] | None:
        triples = [
            (place, token, bias)
            for place, row in enumerate(self._rows)
            for token, bias in row.sampling.logit_bias.items()
        ]
        if not triples:
            return None
        places, tokens, values = zip(*triples, strict=True)
        return mx.array(places, mx.int32), mx.array(tokens, mx.int32), mx.array(values, mx.float32)


def _draw(logits: mx.array, hot: _Hot) -> mx.array:
    """logits [hot, vocab] -> tokens [hot], int32."""
    # Subtracting the maximum first keeps a tiny temperature from overflowing.
    scaled = (logits - mx.max(logits, axis=-1, keepdims=True)) / hot.temperature[:, None]
    keys = mx.array([[row.sampling.seed, row.launched] for row in hot.rows], mx.uint32)
    uniform = mx.vmap(lambda key: mx.random.uniform(key=key))(keys)[:, None]
    if not hot.truncated:
        return _invert(mx.softmax(scaled, axis=-1), uniform)
    order = mx.argsort(-scaled, axis=-1)
    probabilities = mx.softmax(mx.take_along_axis(scaled, order, axis=-1), axis=-1)
    kept = _truncate(probabilities, hot)
    place = _invert(mx.where(kept, probabilities, 0), uniform)
    return mx.take_along_axis(order, place[:, None], axis=-1)[:, 0].astype(mx.int32)


def _truncate(probabilities: mx.array, hot: _Hot) -> mx.array:
    """Which tokens top-k, then top-p of what top-k left, then min-p keep; probabilities [hot, vocab] fall along a row.

    The first token always stays.
    """
    rank = mx.arange(probabilities.shape[-1])[None]
    kept = rank < hot.top_k[:, None]
    nucleus = mx.where(kept, probabilities, 0)
    before = mx.cumsum(nucleus, axis=-1) - nucleus
    kept = kept & (before < hot.top_p[:, None] * mx.sum(nucleus, axis=-1, keepdims=True))
    kept = kept & (probabilities >= hot.min_p[:, None] * probabilities[:, :1])
    return kept | (rank == 0)


def _invert(weights: mx.array, uniform: mx.array) -> mx.array:
    """The place where the running sum of weights [hot, n] passes uniform [hot, 1] of its total: int32 [hot].

    Rounding may put the target at the total itself; the last place with any weight is then the answer.
    """
    running = mx.cumsum(weights, axis=-1)
    place = mx.sum(running <= uniform * running[:, -1:], axis=-1)
    last = weights.shape[-1] - 1 - mx.argmax((weights > 0)[:, ::-1], axis=-1)
    return mx.minimum(place, last).astype(mx.int32)


def is_truncated(sampling: Sampling) -> bool:
    return bool(sampling.top_p < 1 or sampling.top_k or sampling.min_p > 0)


def has_penalty(sampling: Sampling) -> bool:
    return bool(sampling.repetition_penalty != 1 or sampling.presence_penalty or sampling.frequency_penalty)


class History:
    """What the rows with penalties have said so far, counted on the device so that no step waits for the host."""

    def __init__(self, vocab: int):
        self._vocab = vocab
        self._prompted: dict[str, mx.array] = {}
        self._counts: dict[str, mx.array] = {}

    def penalise(self, row: Sequence, logits: mx.array) -> mx.array:
        """logits [vocab] with the row's penalties.

        Presence and frequency count the answer's tokens, as OpenAI defines them; the repetition penalty, the
        prompt's as well (CTRL, Keskar et al. 2019, section 4.1).
        """
        self._begin(row)
        sampling, counts = row.sampling, self._counts[row.id]
        said = counts > 0
        if sampling.repetition_penalty != 1:
            factor = sampling.repetition_penalty
            penalised = mx.where(logits > 0, logits / factor, logits * factor)
            logits = mx.where(said | self._prompted[row.id], penalised, logits)
        return logits - sampling.frequency_penalty * counts - sampling.presence_penalty * said

    def append(self, row: Sequence, token: mx.array) -> None:
        self._counts[row.id] = self._counts[row.id].at[token].add(1)

    def forget(self, row: Sequence) -> None:
        self._prompted.pop(row.id, None)
        self._counts.pop(row.id, None)

    def arrays(self) -> list[mx.array]:
        """To be evaluated with each step, or their graphs would grow with the answer."""
        return list(self._counts.values())

    def _begin(self, row: Sequence) -> None:
        if row.id in self._counts:
            return
        self._counts[row.id] = mx.zeros((self._vocab,), mx.int32)
        seen = mx.zeros((self._vocab,), mx.bool_)
        seen[mx.array(row.prompt, mx.int32)] = True
        self._prompted[row.id] = seen
