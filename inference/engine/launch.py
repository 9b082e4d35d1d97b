"""A step under way on the device, whose results nobody has read yet."""

from dataclasses import dataclass
from typing import cast

import mlx.core as mx

from inference.engine.sampling import Drawn, TokenLogprobs
from inference.engine.sequence import Sequence


@dataclass(slots=True)
class Chunk:
    """The next tokens of a sequence's prompt in a step under way."""

    sequence: Sequence
    tokens: int
    finite: mx.array
    """bool: False for a model that made NaN of them."""
    joins: bool
    """The sequence decodes in this step, too: with a lane for its prompt's last token."""


@dataclass(slots=True)
class Launch:
    """A step under way: what is drawn for these lanes, in this order, None being a lane that nobody waits for; and what
    prefills beside them."""

    lanes: list[Sequence | None]
    drawn: Drawn | None
    """None without lanes, and until `Batch.draw`."""
    rest: list[mx.array]
    """What has to be evaluated with it."""
    chunks: list[Chunk]
    logits: mx.array | None = None
    """[lanes, vocab], of what is still to be drawn."""
    begun: bool = False

    def begin(self) -> None:
        """Computes as much as is certain before the draws are."""
        if self.logits is not None:
            mx.async_eval(self.logits)  # type: ignore[no-untyped-call]
            return
        if self.drawn is not None:
            mx.async_eval(self.drawn.beginning())  # type: ignore[no-untyped-call]
        if self.drawn is None or self.drawn.exact is None:
            self.go_on()

    def go_on(self) -> None:
        """Computes all of it; blocks for a moment where a draw was in doubt."""
        if self.begun:
            return
        self.begun = True
        drawn: list[mx.array] = []
        if self.drawn is not None:
            self.drawn.settle()
            drawn = self.drawn.arrays()
        mx.async_eval(drawn, self.rest, [chunk.finite for chunk in self.chunks])  # type: ignore[no-untyped-call]

    def wait(self) -> tuple[list[int], list[bool]]:
        """Blocks until the step is computed. Tokens, and whether each lane's logits were finite."""
        self.go_on()
        mx.eval(self.rest)
        if self.drawn is None:
            return [], []
        return cast(list[int], self.drawn.tokens.tolist()), cast(list[bool], self.drawn.finite.tolist())

    def logprobs(self) -> dict[int, TokenLogprobs]:
        """By lane, of those that asked; once it is computed."""
        return self.drawn.logprobs.records() if self.drawn is not None and self.drawn.logprobs is not None else {}
