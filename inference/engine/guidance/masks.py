"""The masks of a step: all guided rows at once."""

from llguidance import LLExecutor
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask_par

from inference.engine.sampling.masks import Bits, Lanes


class GuideMasks:
    """Asks the rows' matchers, in threads of llguidance's."""

    def __init__(self, vocab: int):
        self._vocab = vocab
        self._executor = LLExecutor()

    def bits(self, rows: Lanes) -> tuple[list[int], Bits] | None:
        guided = [(place, row.guide) for place, row in enumerate(rows) if row is not None and not row.ended]
        acting = [(place, guide) for place, guide in guided if guide is not None and guide.acts]
        if not acting:
            return None
        guides = [guide for _, guide in acting]
        words = allocate_token_bitmask(len(guides), self._vocab)
        asked = [(guide.asks, place) for place, guide in enumerate(guides) if guide.asks is not None]
        if asked:
            fill_next_token_bitmask_par(self._executor, asked, words)
        for guide, own in zip(guides, words, strict=True):
            guide.adjust(own)
        return [place for place, _ in acting], words
