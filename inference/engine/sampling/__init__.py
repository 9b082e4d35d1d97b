"""From logits to one token per row, every row by its own settings.

`Sampler` takes a batch's logits through `masks` (grammar), `history` (penalties) and `bias`, then draws: greedy rows
by argmax, hot rows by `groups` of one method each, built from `draw` (fixed-point weights, one uniform per row, the
inverse CDF), `ranking` (the likeliest k, without a sort of the vocabulary) and `truncation` (top-k, top-p, min-p,
XTC; `bisection` does the same without any sort). `logprobs` reports what was drawn.

Two rules hold everywhere. A row's token depends on its logits, settings, seed and position alone: weights are integers,
whose sums come out the same in any order and any batch. And every method keeps the same tokens and draws the same
one, ties included: the likelier first, of equals the lower id.

Only `inference.engine` imports this.
"""

from inference.engine.sampling.history import History
from inference.engine.sampling.logprobs import TokenLogprobs
from inference.engine.sampling.masks import Masks
from inference.engine.sampling.sampler import Drawn, Sampler

__all__ = ["Drawn", "History", "Masks", "Sampler", "TokenLogprobs"]
