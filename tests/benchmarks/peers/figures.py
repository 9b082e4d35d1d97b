"""What was measured: kept as JSON after every server, and looked at as medians and ratios."""

import json
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.peers.client import Stream
from tests.benchmarks.peers.scenarios import Metric, Scenario
from tests.benchmarks.peers.servers import OURS

EQUAL = 0.97
"""A ratio that counts as equal on a noisy machine, where a target asks for no more than the best peer has."""


CLOSE = 1.25
"""By this factor at most is a contender's figure worse than the best one."""


@dataclass
class Result:
    """One scenario on one server in one round. Either figures or an error."""

    scenario: str
    server: str
    round: int
    figures: dict[str, float] = field(default_factory=dict)
    error: str = ""
    streams: list[dict[str, Any]] = field(default_factory=list)
    """Every answer: see `summary`."""


def summary(stream: Stream) -> dict[str, Any]:
    """One answer's measures, in seconds from when it was sent."""
    times = [time - stream.sent for time in stream.times]
    gaps = [after - before for before, after in pairwise(times)]
    return {
        "first": times[0] if times else None,
        "longest_gap": max(gaps, default=None),
        "median_gap": median(gaps) if gaps else None,
        "total": stream.ended - stream.sent,
        "pieces": len(times),
        "words": sum(stream.words),
        "completion_tokens": stream.completion_tokens,
        "prompt_tokens": stream.prompt_tokens,
        "cached_tokens": stream.cached_tokens,
        "error": stream.error,
    }


@dataclass
class Bare:
    """A library's loop without a server: tokens per second with so many rows."""

    library: str
    model: str
    rows: int
    round: int
    rate: float | None = None
    error: str = ""


@dataclass
class Run:
    """Everything that one run measured, and where."""

    about: dict[str, Any]
    results: list[Result] = field(default_factory=list)
    bare: list[Bare] = field(default_factory=list)

    def save(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, file: Path) -> "Run":
        content = json.loads(file.read_text())
        results = [Result(**each) for each in content["results"]]
        return cls(content["about"], results, [Bare(**each) for each in content["bare"]])

    def values(self, metric: Metric, server: str) -> list[float]:
        """One figure of every round that went well."""
        return [
            each.figures[metric.name] for each in self.results if each.server == server and metric.name in each.figures
        ]

    def figure(self, metric: Metric, server: str) -> float | None:
        """The median of the rounds; None if none went well."""
        values = self.values(metric, server)
        return median(values) if values else None

    @property
    def rounds(self) -> int:
        """That were begun."""
        return max((each.round for each in self.results), default=-1) + 1

    def failures(self) -> list[Result]:
        return [each for each in self.results if each.error]

    def servers(self) -> list[str]:
        """In the order of their first result, ours last."""
        found = dict.fromkeys(each.server for each in self.results)
        return [*(server for server in found if server != OURS), *([OURS] if OURS in found else [])]

    def bare_figure(self, library: str, model: str, rows: int) -> float | None:
        rates = [
            each.rate
            for each in self.bare
            if (each.library, each.model, each.rows) == (library, model, rows) and each.rate is not None
        ]
        return median(rates) if rates else None


@dataclass
class Comparison:
    """One line of the table."""

    metric: Metric
    figures: dict[str, float | None]
    """By server, ours among them."""

    @property
    def best(self) -> tuple[str, float] | None:
        """The best peer and its figure."""
        peers = {server: figure for server, figure in self.figures.items() if server != OURS and figure is not None}
        if not peers:
            return None
        choose = min if self.metric.lower_is_better else max
        return choose(peers.items(), key=lambda item: item[1])

    def best_of(self, package: str) -> float | None:
        """The package's figure in its best mode."""
        own = [
            figure for server, figure in self.figures.items() if server.split(",")[0] == package and figure is not None
        ]
        return (min if self.metric.lower_is_better else max)(own, default=None)

    @property
    def ours(self) -> float | None:
        return self.figures.get(OURS)

    @property
    def ratio(self) -> float | None:
        """Our figure by the best peer's."""
        return self.ours / self.best[1] if self.best and self.ours is not None else None

    @property
    def target(self) -> str:
        if self.metric.target is None:
            return "–"
        return f"{'≤' if self.metric.lower_is_better else '≥'} {self.metric.target:g} ×"

    @property
    def verdict(self) -> str:
        """Whether the target is met, or by how much it is missed."""
        ratio, target = self.ratio, self.metric.target
        if ratio is None:
            return "not measured"
        if target is None:
            return "–"
        if self.metric.lower_is_better:
            return "met" if ratio <= target else f"missed: {ratio / target:.2f} × the time allowed"
        if ratio >= target:
            return "met"
        if target == 1.0 and ratio >= EQUAL:
            return "met (equal)"
        return f"missed: {1 - ratio / target:.0%} below"


def compare(run: Run, scenarios: list[Scenario]) -> list[Comparison]:
    """A line for each metric of the scenarios that were tried."""
    tried = {each.scenario for each in run.results}
    servers = run.servers()
    return [
        Comparison(metric, {server: run.figure(metric, server) for server in servers})
        for scenario in scenarios
        if scenario.name in tried
        for metric in scenario.metrics
    ]


def contenders(run: Run, scenarios: list[Scenario]) -> set[str]:
    """The peers' modes that come CLOSE to the best of them, or are it, in at least one line."""
    found = set()
    for line in compare(run, scenarios):
        if line.best is None:
            continue
        best = line.best[1]
        for server, figure in line.figures.items():
            if server != OURS and figure is not None and max(figure, best) <= CLOSE * min(figure, best):
                found.add(server)
    return found
