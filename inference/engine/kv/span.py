"""Tokens of a prompt in a step beside rows that decode.

Each of them is a lane of its own, as if it were a row with one token: then all that a model does token by token goes
through one product for the whole step, the weights are read once for prompts and decoding rows, and no prompt is
padded to another's length. Only attention knows what belongs together. (Sarathi-Serve, Agrawal et al. 2024, has the
idea of such steps.)
"""

import mlx.core as mx
from mlx_lm.models.base import create_causal_mask

from inference.engine.kv.attention import attention
from inference.engine.kv.banks import Row
from inference.engine.kv.pool import Pool


class Span:
    """The `tokens` tokens of a prompt by which a row was extended, in the lanes [first, last)."""

    def __init__(self, row: Row, first: int, tokens: int):
        self.row = row
        self.first = first
        self.last = first + tokens
        self._start, self._end = row.own - tokens, row.own
        # MLX checks no bounds: a cell past the end is the neighbour's, another user's context.
        assert 0 < tokens <= self._end <= row.bank.capacity, f"cells {self._start}:{self._end} of {row.bank.capacity}"

    @property
    def positions(self) -> range:
        return range(self.row.base + self._start, self.row.base + self._end)

    def write(self, leaf: int, keys: mx.array, values: mx.array) -> None:
        """keys, values [lanes, heads, 1, width] of the whole step: its own go into its row's slot."""
        bank, slot = self.row.bank, self.row.slot
        for arrays, fresh in ((bank.keys, keys), (bank.values, values)):
            if fresh.shape[-1]:
                own = fresh[self.first : self.last, :, 0].swapaxes(0, 1)
                arrays[leaf][slot : slot + 1, :, self._start : self._end] = own[None]

    def attend(
        self,
        leaf: int,
        queries: mx.array,
        scale: float,
        window: int | None,
        sinks: mx.array | None,
        pool: Pool | None,
    ) -> mx.array:
        """queries [lanes, heads, 1, width] of the whole step -> [tokens, heads, 1, value width]."""
        asked = queries[self.first : self.last].transpose(2, 1, 0, 3)
        keys, values = self._read(leaf, pool)
        mask: mx.array | str | None = None
        if window is not None and keys.shape[2] > window:
            mask = create_causal_mask(asked.shape[2], offset=keys.shape[2] - asked.shape[2], window_size=window)
        elif asked.shape[2] > 1:
            mask = "causal"
        answer = attention(asked, keys, values, scale, mask, sinks)
        return answer.transpose(2, 1, 0, 3)

    def _read(self, leaf: int, pool: Pool | None) -> tuple[mx.array, mx.array]:
        """Keys and values [1, heads, length, width] of its row's tokens, these included."""
        bank, slot = self.row.bank, self.row.slot
        own = [arrays[leaf][slot : slot + 1, :, : self._end] for arrays in (bank.keys, bank.values)]
        if bank.shared is None:
            return own[0], own[1]
        assert pool is not None
        runs = [pool.read(leaf, *run) for run in bank.shared.runs]
        return (
            mx.concatenate([*(run[0] for run in runs), own[0]], axis=2),
            mx.concatenate([*(run[1] for run in runs), own[1]], axis=2),
        )
