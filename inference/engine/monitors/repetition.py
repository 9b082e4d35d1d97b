"""Notices an answer that goes round in circles: its last tokens are one pattern, again and again, without a change.

Only exact repetition counts, so code whose lines differ, numbered lists and tables with contents never do. What is
left to tell apart is a loop and a long but honest repetition (a row of dashes, an array of zeros, a refrain), and for
that only length speaks: see `Limits`.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import msgspec

Policy = Literal["safe", "strict", "off"]

CHECK_TOKENS = 16
"""The tail is looked at so often, which is how late a loop may be noticed."""

ANCHOR_TOKENS = 8
"""The newest tokens, which must have occurred before, exactly one period ago."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What counts as a loop: a pattern of at most `longest` tokens, at least `times` in a row, over at least `tokens`
    tokens in all."""

    longest: int
    times: int
    tokens: int

    def needed(self, period: int) -> int:
        """Tokens at the end of an answer that must repeat with this period."""
        return max(self.tokens, self.times * period)


LIMITS: dict[Policy, Limits] = {
    # A thousand tokens is more than an 80-column rule, a hundred zeros, an empty table or a chorus have, at one token
    # per character even; a model that has lost its way goes on to the limit of its answer, which is far longer.
    "safe": Limits(longest=256, times=16, tokens=1024),
    "strict": Limits(longest=256, times=6, tokens=128),
}


class RepetitionReport(msgspec.Struct):
    """For the engine's stats."""

    policy: Policy
    stopped: dict[str, int]
    """Answers ended since the start, by reason."""


class RepetitionMonitor:
    """One per engine: makes a detector for every answer and counts what they find."""

    def __init__(self, policy: Policy):
        self.policy = policy
        self._stopped: Counter[str] = Counter()

    def detector(self, policy: Policy | None = None) -> "RepetitionDetector":
        """For one answer; `policy` where its request asked for another one."""
        return RepetitionDetector(policy or self.policy, self._stopped)

    def report(self) -> RepetitionReport:
        return RepetitionReport(self.policy, dict(self._stopped))


class RepetitionDetector:
    """Watches one answer, and says once that it goes round in circles.

    Costs 0.15 µs per token of text, and some ten µs where all but a token now and then is periodic (one core of a
    2-core Linux machine, over 100,000 tokens).
    """

    def __init__(self, policy: Policy, stopped: Counter[str] | None = None):
        self._limits = LIMITS.get(policy)
        self._stopped = stopped
        # Tokens as characters of a string: searching and comparing strings is what CPython does in C.
        self._tail = ""
        self._fresh: list[str] = []
        self._keep = 0
        if self._limits is not None:
            self._keep = self._limits.needed(self._limits.longest) + self._limits.longest

    def push(self, token: int) -> str | None:
        """Takes the next generated token. The reason to end the answer, `single_token_run` or `pattern_loop_len_N`
        (N tokens), or None."""
        if self._limits is None:
            return None
        self._fresh.append(chr(token))
        if len(self._fresh) < CHECK_TOKENS:
            return None
        self._tail = (self._tail + "".join(self._fresh))[-self._keep :]
        self._fresh.clear()
        period = self._period(self._limits)
        if period is None:
            return None
        # The token after, which may be on its way already, is not another finding.
        self._limits = None
        reason = "single_token_run" if period == 1 else f"pattern_loop_len_{period}"
        if self._stopped is not None:
            self._stopped[reason] += 1
        return reason

    def _period(self, limits: Limits) -> int | None:
        """The shortest period with which the tail repeats for long enough."""
        tail = self._tail
        if len(tail) < limits.tokens:
            return None
        anchor = tail[-ANCHOR_TOKENS:]
        start = len(tail) - ANCHOR_TOKENS
        farthest = max(0, start - limits.longest)
        found = start
        while (found := tail.rfind(anchor, farthest, found + ANCHOR_TOKENS - 1)) >= 0:
            period = start - found
            needed = limits.needed(period)
            # `needed` tokens repeat when all but the first period of them equal what stands one period before.
            if needed <= len(tail) and tail[-needed + period :] == tail[-needed:-period]:
                return period
        return None
