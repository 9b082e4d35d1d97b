"""A machine that costs time but computes nothing: carries out the scheduler's plans on a clock of its own."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from time import thread_time
from typing import Any

from inference.engine.scheduling.fairness import CACHED, INPUT, OUTPUT
from inference.engine.scheduling.memory import Memory
from inference.engine.scheduling.scheduler import Plan, Scheduler

BLOCK = 32
"""Tokens; what a preempted request had computed is kept in whole blocks."""


@dataclass(slots=True, eq=False)
class Request:
    """One request; satisfies the scheduler's Job."""

    id: str
    user: str
    prompt: int
    output: int
    received: float = 0.0
    weight: float = 1.0
    priority: str = "interactive"
    deadline: float | None = None
    prefix: int | None = None
    """Which shared prefix its prompt begins with."""
    shared: int = 0
    """Length of that in tokens."""

    launched: int = 0
    prefilled: int = 0
    resumed: int = 0
    """Tokens of the answer that are part of its context since a preemption."""
    first_token: float | None = None
    ended: float | None = None
    preemptions: int = 0

    @property
    def context(self) -> int:
        """The last token is never prefilled: it is the next decode step's input."""
        return self.prompt - 1 + self.resumed

    @property
    def to_prefill(self) -> int:
        return self.context - self.prefilled


@dataclass(frozen=True)
class Costs:
    """Seconds. A chunk of n tokens after x of context takes fixed + n·token + n·(x + n/2)·attention; a decode step
    takes fixed, and more per row and per token of context. By default about a 3 B model on a Mac Studio."""

    prefill_fixed: float = 0.004
    prefill_token: float = 1 / 4000
    prefill_attention: float = 0.3 / 4000 / 10_000
    decode_fixed: float = 0.008
    decode_row: float = 0.0004
    decode_context: float = 2e-7
    noise: float = 0.03
    """Standard deviation of each measured time, relative."""

    def prefill(self, tokens: int, context: int) -> float:
        return (
            self.prefill_fixed + tokens * self.prefill_token + tokens * (context + tokens / 2) * self.prefill_attention
        )

    def decode(self, rows: int, context: int) -> float:
        return self.decode_fixed + rows * self.decode_row + context * self.decode_context


def weighted(prompt: int, cached: int, output: int) -> float:
    return INPUT * prompt + CACHED * cached + OUTPUT * output


@dataclass(slots=True)
class Step:
    """What happened in one step."""

    plan: Plan
    seconds: float
    decoded: int
    """Rows that decoded in it."""
    ended: list[Request] = field(default_factory=list)


class Machine:
    """Owns the scheduler, the clock and the requests.

    `on_service(request, weighted tokens)` hears of all that is computed. mixed: prompts prefill in the steps of rows
    that decode, at no fixed cost of their own, and join a step later. Other keyword arguments go to the scheduler.
    """

    def __init__(
        self,
        *,
        costs: Costs | None = None,
        seed: int = 0,
        memory: Memory | None = None,
        on_service: Callable[[Request, float], None] | None = None,
        mixed: bool = False,
        **options: Any,
    ):
        self.mixed = mixed
        self.costs = costs or Costs()
        self.now = 0.0
        self.plan_seconds: list[float] = []
        self._random = random.Random(seed)
        self._on_service = on_service or (lambda request, tokens: None)
        self._warm: dict[int | None, int] = {}
        self._leaders: dict[int | None, Request] = {}
        self.scheduler = Scheduler(
            memory=memory or Memory(1 << 40, lambda tokens: tokens),
            cached=self._cached,
            held=self._held,
            mixed=mixed,
            **options,
        )

    def add(self, request: Request) -> None:
        """Raises QueueFull."""
        self.scheduler.add(request, self.now)

    def step(self) -> Step:
        """Carries out one plan, in the order that the plan gives."""
        began = thread_time()
        plan = self.scheduler.plan(self.now)
        self.plan_seconds.append(thread_time() - began)
        step = Step(plan, 0.0, 0)
        for request in plan.full:
            self._end(request, step)
        rows: list[Request] = self.scheduler.running
        step.decoded = len(rows)
        self._preempt(plan)
        for request in plan.admit:
            request.prefilled = self._cached(request)
            self._charge(request, cached=request.prefilled)
        step.seconds = self._mixed_step(rows, plan) if self.mixed else self._decode(rows) + self._prefill(plan)
        self.now += step.seconds
        for row in rows:
            row.first_token = row.first_token or self.now
            if row.launched >= row.output:
                self._end(row, step)
        return step

    def _preempt(self, plan: Plan) -> None:
        for request in plan.preempt:
            held = request.context - request.to_prefill + request.launched - request.resumed
            request.resumed = request.launched
            request.prefilled = min(held // BLOCK * BLOCK, request.context)
            request.preemptions += 1
            self._stop_leading(request)
        self.scheduler.preempted(plan.preempt)

    def _decode(self, rows: list[Request]) -> float:
        seconds = self._decode_cost(rows)
        self.scheduler.observe(len(rows), [], seconds)
        return seconds

    def _decode_cost(self, rows: list[Request]) -> float:
        if not rows:
            return 0.0
        context = 0
        for row in rows:
            row.launched += 1
            context += row.prompt + row.launched
            self._charge(row, output=1)
        return self._measured(self.costs.decode(len(rows), context))

    def _mixed_step(self, rows: list[Request], plan: Plan) -> float:
        """Decodes and prefills at once."""
        seconds, ahead = self._decode_cost(rows), 0.0
        chunks: list[tuple[int, int]] = []
        for request, tokens in plan.prefill:
            tokens = min(tokens, request.to_prefill)
            context = request.context - request.to_prefill
            if request in plan.ahead:
                ahead += self._go_ahead(request, tokens, context)
                continue
            if request.to_prefill == 0:
                self.scheduler.start([request])
                continue
            seconds += self._measured(self.costs.prefill(tokens, context))
            seconds -= self.costs.prefill_fixed if rows or chunks else 0.0
            chunks.append((tokens, context))
            self._book(request, tokens)
        self.scheduler.observe(len(rows), chunks, seconds)
        return ahead + seconds

    def _go_ahead(self, request: Request, tokens: int, context: int) -> float:
        """It says its first token by itself, and decodes from the next step on."""
        seconds = self._measured(self.costs.prefill(tokens + 1, context))
        self.scheduler.observe(0, [(tokens + 1, context)], seconds)
        self._book(request, tokens)
        self._charge(request, output=1)
        request.launched += 1
        request.first_token = request.first_token or self.now + seconds
        self.scheduler.start([request])
        return seconds

    def _prefill(self, plan: Plan) -> float:
        total = 0.0
        for request, tokens in plan.prefill:
            tokens = min(tokens, request.to_prefill)
            if tokens:
                context = request.context - request.to_prefill
                seconds = self._measured(self.costs.prefill(tokens, context))
                self.scheduler.observe(0, [(tokens, context)], seconds)
                total += seconds
                self._book(request, tokens)
            if request.to_prefill == 0:
                self.scheduler.start([request])
        return total

    def _book(self, request: Request, tokens: int) -> None:
        request.prefilled += tokens
        self._charge(request, prompt=tokens)
        self._warm_up(request)

    def _end(self, request: Request, step: Step) -> None:
        request.ended = self.now
        step.ended.append(request)
        self._stop_leading(request)
        self.scheduler.remove([request])

    def _measured(self, seconds: float) -> float:
        return seconds * max(0.5, self._random.gauss(1.0, self.costs.noise))

    def _charge(self, request: Request, *, prompt: int = 0, cached: int = 0, output: int = 0) -> None:
        self.scheduler.charge(request, prompt=prompt, cached=cached, output=output)
        self._on_service(request, weighted(prompt, cached, output))

    # --- the prefix cache --------------------------------------------------------------------------------------------

    def _cached(self, request: Any) -> int:
        warm = self._warm.get(request.prefix, 0)
        return max(request.prefilled, min(warm, request.context))

    def _held(self, request: Any) -> bool:
        """Another is prefilling the prefix with which this one begins."""
        leader = self._leaders.get(request.prefix)
        return leader is not None and leader is not request and leader.prefilled < leader.shared

    def _stop_leading(self, request: Request) -> None:
        if self._leaders.get(request.prefix) is request:
            del self._leaders[request.prefix]

    def _warm_up(self, request: Request) -> None:
        if request.prefix is None or self._warm.get(request.prefix, 0) >= request.shared:
            return
        self._leaders[request.prefix] = request
        if request.prefilled >= request.shared:
            self._warm[request.prefix] = request.shared
            del self._leaders[request.prefix]
