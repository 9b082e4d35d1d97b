"""The scheduler under load: `python -m tests.benchmarks.simulator --requests 100000 --users 1000 --seed 1`.

The requests are made up, the machine's times come from a cost model, and what is printed is the same for the same seed,
but for the last line: the processor time that a plan took.
"""

import argparse
import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from inference.engine.scheduling.job import CLASSES
from inference.engine.scheduling.memory import Memory
from tests.benchmarks.machine import Costs, Machine, Request

HEAVY = 0.02
"""Part of the users that send most of the work, in bursts of many long requests."""
LOAD = 0.9
"""Work that arrives, of what the machine can do."""
PREFIXES = 20
CAPACITY_TOKENS = 400_000
"""KV of about so many tokens fits."""


class Workload:
    """Requests in the order in which they arrive."""

    def __init__(self, requests: int, users: int, seed: int):
        self._random = random.Random(seed)
        self.heavy = [f"heavy-{n}" for n in range(max(1, int(users * HEAVY)))]
        self.light = [f"light-{n}" for n in range(users - len(self.heavy))]
        self._weights = {user: self._random.choice((1.0, 1.0, 1.0, 3.0)) for user in (*self.heavy, *self.light)}
        self._shares = [1 / (rank + 1) ** 0.6 for rank in range(len(self.light))]
        made = [request for batch in self._batches(requests) for request in batch][:requests]
        work = sum(self._work(request) for request in made)
        span = work / LOAD
        made.sort(key=lambda request: request.received)
        for number, request in enumerate(made):
            request.id = str(number)
            request.received *= span
        self.requests = made

    def _batches(self, requests: int) -> Iterator[list[Request]]:
        """Half of all requests are light users' single ones, half heavy users' bursts, at times in [0, 1)."""
        yield [self._light() for _ in range(requests // 2)]
        left = requests - requests // 2
        while left > 0:
            size = min(left, self._random.randint(20, 400))
            left -= size
            yield self._burst(size)

    def _light(self) -> Request:
        user = self._random.choices(self.light, self._shares)[0]
        priority = self._random.choices(("interactive", "api"), (0.9, 0.1))[0]
        return self._request(user, self._random.random(), priority, self._lengths(150, 4000), self._lengths(40, 400))

    def _burst(self, size: int) -> list[Request]:
        user = self._random.choice(self.heavy)
        when = self._random.random()
        priority = self._random.choices(("interactive", "api", "batch"), (0.7, 0.15, 0.15))[0]
        return [
            self._request(user, when, priority, self._lengths(500, 16_000), self._lengths(60, 1000))
            for _ in range(size)
        ]

    def _request(self, user: str, when: float, priority: str, prompt: int, output: int) -> Request:
        shared = self._random.random() < 0.5
        return Request(
            id="",
            user=user,
            prompt=prompt + (512 if shared else 0),
            output=output,
            received=when,
            weight=self._weights[user],
            priority=priority,
            prefix=self._random.randrange(PREFIXES) if shared else None,
            shared=512 if shared else 0,
        )

    def _lengths(self, median: int, most: int) -> int:
        return max(2, min(most, int(self._random.lognormvariate(math.log(median), 0.9))))

    def _work(self, request: Request) -> float:
        """Seconds of the machine, about: its prefill, and its part of decode steps with 24 rows."""
        costs = Costs()
        prompt = request.prompt - request.shared
        return costs.prefill(prompt, 0) + request.output * costs.decode(24, 24 * 600) / 24


class FairnessMeter:
    """Who got how much while waiting all along.

    At the end of each window of so many seconds, those users of a class are compared who had requests waiting at every
    moment of it: weighted tokens computed for them in it, divided by their weight.
    """

    def __init__(self, windows: Sequence[float]):
        self._served: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._waiting: Counter[tuple[str, str]] = Counter()
        self._idle_at: dict[tuple[str, str], float] = {}
        """When the user last had nothing waiting."""
        self._marks = {window: (0.0, dict(self._served)) for window in windows}
        self.largest: dict[tuple[str, float], tuple[float, float, int]] = {}
        """Per class and window: largest difference, the larger one's service then, comparisons made."""

    def served(self, request: Request, tokens: float) -> None:
        self._served[request.user, request.priority] += tokens / request.weight

    def waits(self, request: Request, change: int, now: float) -> None:
        user = (request.user, request.priority)
        if not self._waiting[user]:
            self._idle_at[user] = now
        self._waiting[user] += change
        if not self._waiting[user]:
            self._idle_at[user] = now

    def look(self, now: float) -> None:
        for window, (since, before) in self._marks.items():
            if now < since + window:
                continue
            for priority in CLASSES:
                self._compare(window, since, before, priority)
            self._marks[window] = (now, dict(self._served))

    def _compare(self, window: float, since: float, before: dict[tuple[str, str], float], priority: str) -> None:
        got = [
            self._served[user] - before.get(user, 0.0)
            for user, waiting in self._waiting.items()
            if waiting and user[1] == priority and self._idle_at[user] < since
        ]
        if len(got) < 2:
            return
        difference, most, count = self.largest.get((priority, window), (0.0, 0.0, 0))
        if max(got) - min(got) > difference:
            difference, most = max(got) - min(got), max(got)
        self.largest[priority, window] = (difference, most, count + 1)


@dataclass
class Report:
    """What a replay showed. Times in seconds of the simulated clock, but for `plans`: processor time."""

    finished: int
    span: float
    fairness: dict[tuple[str, float], tuple[float, float, int]]
    stalls: list[float]
    """Length of each step in which rows decoded."""
    first_tokens: dict[str, list[float]]
    """Time to first token by kind: light or heavy, and the class."""
    rows: float
    """Rows that decode or prefill, mean over time."""
    crowded: float
    """Part of the time in which requests waited."""
    preemptions: int
    most_preempted: int
    refused: int
    plans: list[float]


def replay(workload: Workload, *, max_rows: int = 32, max_stall: float = 0.1, seed: int = 1) -> Report:
    meter = FairnessMeter((10.0, 60.0, 300.0))
    machine = Machine(
        seed=seed,
        memory=Memory(CAPACITY_TOKENS, lambda tokens: max(256, 1 << (tokens - 1).bit_length())),
        on_service=meter.served,
        max_rows=max_rows,
        max_stall=max_stall,
        max_waiting=len(workload.requests),
    )
    scheduler = machine.scheduler
    report = Report(0, 0.0, meter.largest, [], {}, 0.0, 0.0, 0, 0, 0, machine.plan_seconds)
    arriving = iter(workload.requests)
    upcoming = next(arriving, None)
    while upcoming is not None or len(scheduler):
        if not len(scheduler) and upcoming is not None:
            machine.now = max(machine.now, upcoming.received)
        while upcoming is not None and upcoming.received <= machine.now:
            machine.add(upcoming)
            meter.waits(upcoming, 1, machine.now)
            upcoming = next(arriving, None)
        waiting = len(scheduler.queue)
        step = machine.step()
        for request in step.plan.admit:
            meter.waits(request, -1, machine.now)
        for request in step.plan.preempt:
            meter.waits(request, 1, machine.now)
        meter.look(machine.now)
        if step.decoded:
            report.stalls.append(step.seconds)
        report.rows += scheduler.rows * step.seconds
        report.crowded += step.seconds if waiting else 0.0
        report.preemptions += len(step.plan.preempt)
        for request in step.ended:
            report.finished += 1
            report.most_preempted = max(report.most_preempted, request.preemptions)
            kind = f"{request.user.split('-')[0]} {request.priority}"
            first = request.first_token if request.first_token is not None else machine.now
            report.first_tokens.setdefault(kind, []).append(first - request.received)
    report.span = machine.now
    report.rows /= report.span
    report.crowded /= report.span
    return report


def percentile(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def print_report(report: Report, max_rows: int, max_stall: float) -> None:
    print(f"finished            {report.finished} requests in {report.span:,.0f} simulated seconds")
    print("fairness            largest difference of weighted tokens served to two users who waited all along")
    for (priority, window), (difference, most, count) in sorted(report.fairness.items()):
        share = difference / most if most else 0.0
        print(f"  {priority:12}over {window:4.0f} s {difference:8,.0f} of {most:9,.0f}, {share:5.1%}; {count} windows")
    print(f"step while decoding p50 {percentile(report.stalls, 0.5) * 1e3:.0f} ms, "
          f"p99 {percentile(report.stalls, 0.99) * 1e3:.0f} ms, longest {max(report.stalls) * 1e3:.0f} ms "
          f"(bound {max_stall * 1e3:.0f})")  # fmt: skip
    print("time to first token")
    for kind, times in sorted(report.first_tokens.items()):
        print(f"  {kind:18}p50 {percentile(times, 0.5):8.2f} s   p99 {percentile(times, 0.99):8.2f} s   ({len(times)})")
    print(f"rows in use         {report.rows:.1f} of {max_rows}; requests waited {report.crowded:.0%} of the time")
    print(f"preemptions         {report.preemptions}; of one request at most {report.most_preempted}")
    print(f"a plan (processor)  mean {sum(report.plans) / len(report.plans) * 1e6:.0f} µs, "
          f"p99 {percentile(report.plans, 0.99) * 1e6:.0f} µs; {len(report.plans)} plans")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--max-stall-ms", type=float, default=100.0)
    options = parser.parse_args()
    workload = Workload(options.requests, options.users, options.seed)
    report = replay(workload, max_rows=options.rows, max_stall=options.max_stall_ms / 1e3, seed=options.seed)
    print_report(report, options.rows, options.max_stall_ms / 1e3)


if __name__ == "__main__":
    main()
