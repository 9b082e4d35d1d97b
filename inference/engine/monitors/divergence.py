"""Decides whether a model says the same in a batch as alone, from probes that the engine runs now and then.

A probe is one prompt, run greedily twice: alone, and as a row beside others. Best compared is what the model would
say at each position of ONE text (the argmax after the same tokens), for two texts that part at one close call differ
ever after, and then the rate says where they parted rather than how often they disagree.
"""

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Literal

import msgspec

log = logging.getLogger(__name__)

Action = Literal["warn", "serialize"]

WINDOW_PROBES = 8
"""The rate is taken over so many probes: one close call is a matter of rounding, many are a fault."""

MIN_TOKENS = 64
"""Fewer compared tokens decide nothing; of so many, three may differ at the default threshold."""

RECOVERY_PROBES = 3
"""Probes in a row that must agree before requests run together again."""


class Probe(msgspec.Struct, frozen=True):
    """Positions that were compared, and those that agreed."""

    agreed: int
    compared: int

    @property
    def rate(self) -> float:
        return self.agreed / self.compared if self.compared else 1.0


class DivergenceReport(msgspec.Struct):
    """For the engine's stats."""

    enabled: bool
    probes: int
    """Since the start."""
    agreement: float | None
    """Over the last probes; None before the first."""
    threshold: float
    action: Action
    diverging: bool
    serialized: bool
    alarms: int
    """Times that agreement fell below the threshold."""


class DivergenceMonitor:
    """interval: seconds between probes, None: never.  threshold: the share of positions that must agree."""

    def __init__(
        self,
        interval: float | None,
        threshold: float = 0.95,
        action: Action = "warn",
        clock: Callable[[], float] = monotonic,
    ):
        self._interval = interval
        self._threshold = threshold
        self._action = action
        self._clock = clock
        self._due = math.inf if interval is None else clock() + interval
        self._window: deque[Probe] = deque(maxlen=WINDOW_PROBES)
        self._recovered = 0
        """Probes in a row at or above the threshold, while diverging."""
        self._probes = 0
        self._alarms = 0
        self.diverging = False

    @property
    def serialized(self) -> bool:
        """Requests are to run one at a time for now, streamed answers to their last token."""
        return self.diverging and self._action == "serialize"

    @property
    def agreement(self) -> float | None:
        """Over the window; None while nothing is known."""
        compared = sum(probe.compared for probe in self._window)
        return sum(probe.agreed for probe in self._window) / compared if compared else None

    def due(self) -> bool:
        """It is time for a probe. True until `observe` or `postpone` is called."""
        return self._clock() >= self._due

    def postpone(self) -> None:
        """A probe could not be run; the next one is due an interval from now."""
        if self._interval is not None:
            self._due = self._clock() + self._interval

    def observe(self, alone: Sequence[int], together: Sequence[int]) -> Probe:
        """Takes in a probe's tokens, position by position; where one is shorter, the rest of the other counts as
        disagreement. Changes `diverging`, and logs it."""
        agreed = sum(a == b for a, b in zip(alone, together, strict=False))
        probe = Probe(agreed, max(len(alone), len(together)))
        self.postpone()
        self._probes += 1
        self._window.append(probe)
        if self.diverging:
            self._recovered = self._recovered + 1 if probe.compared and probe.rate >= self._threshold else 0
            if self._recovered >= RECOVERY_PROBES:
                self._end_alarm()
        elif sum(probe.compared for probe in self._window) >= MIN_TOKENS:
            rate = self.agreement
            if rate is not None and rate < self._threshold:
                self._alarm(rate)
        return probe

    def report(self) -> DivergenceReport:
        return DivergenceReport(
            enabled=self._interval is not None,
            probes=self._probes,
            agreement=self.agreement,
            threshold=self._threshold,
            action=self._action,
            diverging=self.diverging,
            serialized=self.serialized,
            alarms=self._alarms,
        )

    def _alarm(self, rate: float) -> None:
        self.diverging = True
        self._alarms += 1
        self._recovered = 0
        log.warning(
            "a probe in a batch agrees with itself alone at %.1f %% of its tokens (--batch-divergence-threshold %g)%s",
            100 * rate, self._threshold, ": requests run one at a time" if self.serialized else "",
        )  # fmt: skip

    def _end_alarm(self) -> None:
        """The probes of before say nothing about now, and go."""
        was_serialized = self.serialized
        self.diverging = False
        recent = list(self._window)[-RECOVERY_PROBES:]
        self._window.clear()
        self._window.extend(recent)
        log.info("probes in a batch agree again%s", ": requests run together" if was_serialized else "")
