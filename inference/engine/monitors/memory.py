"""Watches how full the memory is, and says what new requests get when it is nearly so.

Percent of what depends on where the model lives:

- Metal and CUDA: MLX's active memory (weights, caches, work in progress; not its pool of free buffers, which it gives
  back) of the device's recommended working set or memory. Beyond that MLX fails, whatever else the machine has free.
- CPU: the fuller of two, this process's resident memory of what its container allows, and the machine's used memory of
  all there is, for the kernel kills by the second as well. `host_reading` reads both.
"""

import logging
import math
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Literal

import msgspec
import psutil

from inference.engine.options import EngineOptions

log = logging.getLogger(__name__)

State = Literal["unknown", "ok", "warn", "limit"]
Trend = Literal["unknown", "growing", "stable", "declining"]

RELEASE = 0.95
"""A state is left at this share of the threshold that it was entered at, lest it flutter."""

PATIENCE = 12
"""Readings at the limit, one minute of them by default, after which the context is halved once more."""

SMALLEST_SHARE = 1 / 8
"""Of the context; below that the answer to memory pressure is to refuse."""

TREND_READINGS = 12
TREND_PERCENT = 2.0
"""A change over the last readings that is no noise, in points of percent."""

CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class MemoryReading(msgspec.Struct, frozen=True):
    """Bytes in use, and bytes that there are for it. A limit of 0 means that it is not known."""

    used_bytes: int
    limit_bytes: int

    @property
    def percent(self) -> float:
        return 100 * self.used_bytes / self.limit_bytes if self.limit_bytes > 0 else math.nan


class MemoryReport(msgspec.Struct):
    """For the engine's stats."""

    state: State
    percent: float
    """0 while nothing is known."""
    used_bytes: int
    limit_bytes: int
    trend: Trend
    action: str
    context_share: float
    """Of the model's context, for new requests."""
    refusing: bool
    warned: int
    """Times that the warn threshold was crossed from below, since the start; the limit too."""
    limited: int


class MemoryMonitor:
    """Call `check` once a step: it reads when an interval has passed. `read` and `clock` (seconds) may be a test's."""

    def __init__(
        self, options: EngineOptions, read: Callable[[], MemoryReading], clock: Callable[[], float] = monotonic
    ):
        self._warn_at = options.memory_warn_threshold
        self._limit_at = options.memory_limit_threshold
        self._action = options.memory_action
        self.interval = options.memory_monitor_interval
        """Seconds between readings; nothing that this says changes in between."""
        self._read = read
        self._clock = clock
        self._due = -math.inf
        self._reading = MemoryReading(0, 0)
        self._history: deque[float] = deque(maxlen=TREND_READINGS)
        self._at_limit = 0
        """Readings in a row at the limit."""
        self._warned = 0
        self._limited = 0
        self.state: State = "unknown"
        self.context_share = 1.0

    @property
    def percent(self) -> float:
        return self._reading.percent

    def check(self) -> State | None:
        """Reads if it is time to. The new state where it has changed for better or worse, which is logged; else
        None."""
        now = self._clock()
        if now < self._due:
            return None
        self._due = now + self.interval
        self._reading = self._read()
        before, self.state = self.state, self._next()
        if self.state != "unknown":
            self._history.append(self.percent)
        self._follow(before)
        if self.state == before:
            return None
        self._say(before)
        return self.state

    def context_limit(self, context_length: int) -> int:
        """Tokens of prompt and answer together that a new request may have. Requests under way keep theirs."""
        return max(1, int(context_length * self.context_share))

    def refusal(self) -> str | None:
        """Why a new request is to be refused with `server_is_overloaded`, or None."""
        if self._action != "reject-new" or self.state != "limit":
            return None
        return (
            f"The model's memory is {self.percent:.0f} % full, so new requests are refused until it is below "
            f"{self._limit_at * RELEASE:.0f} % (--memory-limit-threshold {self._limit_at:g}, "
            "--memory-action reject-new). Try again in a moment."
        )

    def report(self) -> MemoryReport:
        return MemoryReport(
            state=self.state,
            percent=0.0 if self.state == "unknown" else round(self.percent, 1),
            used_bytes=self._reading.used_bytes,
            limit_bytes=self._reading.limit_bytes,
            trend=self._trend(),
            action=self._action,
            context_share=self.context_share,
            refusing=self.refusal() is not None,
            warned=self._warned,
            limited=self._limited,
        )

    def _next(self) -> State:
        percent = self.percent
        if math.isnan(percent):
            return "unknown"
        if percent >= self._limit_at * (RELEASE if self.state == "limit" else 1):
            return "limit"
        if percent >= self._warn_at * (RELEASE if self.state in ("warn", "limit") else 1):
            return "warn"
        return "ok"

    def _follow(self, before: State) -> None:
        """Counts, and for reduce-context: half at the limit, half again while that does not help, all when it is ok.

        In between, falling through warn, the context stays as short as it is: to lengthen it would be to come back.
        """
        if self.state == "limit":
            self._limited += before != "limit"
            if self._action == "reduce-context" and self._at_limit % PATIENCE == 0:
                self.context_share = max(SMALLEST_SHARE, self.context_share / 2)
            self._at_limit += 1
            return
        self._at_limit = 0
        self._warned += self.state == "warn" and before in ("ok", "unknown")
        if self.state != "warn":
            self.context_share = 1.0

    def _trend(self) -> Trend:
        if len(self._history) < TREND_READINGS:
            return "unknown"
        change = self._history[-1] - self._history[0]
        return "stable" if abs(change) < TREND_PERCENT else "growing" if change > 0 else "declining"

    def _say(self, before: State) -> None:
        if self.state == "warn" and before != "limit":
            log.warning("memory: %.0f %% in use (--memory-warn-threshold %g)", self.percent, self._warn_at)
        elif self.state == "limit":
            follows = {
                "warn": "nothing follows but this line",
                "reduce-context": f"new requests get {self.context_share:.0%} of the context",
                "reject-new": "new requests are refused",
            }[self._action]
            log.warning(
                "memory: %.0f %% in use (--memory-limit-threshold %g): %s", self.percent, self._limit_at, follows
            )
        elif before in ("warn", "limit"):
            log.info("memory: %.0f %% in use, less again", self.percent)


def host_reading(container: tuple[str, ...] = CONTAINER_LIMITS) -> MemoryReading:
    """The fuller of this process in its container and the machine as a whole. container: files with a limit."""
    machine = psutil.virtual_memory()
    process = MemoryReading(psutil.Process().memory_info().rss, container_limit(machine.total, container))
    whole = MemoryReading(machine.total - machine.available, machine.total)
    return max(process, whole, key=lambda reading: reading.percent)


def container_limit(total: int, files: tuple[str, ...] = CONTAINER_LIMITS) -> int:
    """Bytes that this process may use: its container's limit, or all of the machine's `total`."""
    for file in files:
        try:
            limit = int(Path(file).read_text())
        except (OSError, ValueError):
            continue  # no such cgroup, or "max"
        return min(limit, total)
    return total
