"""What is asked of every contestant and what is measured: the table of "Speed" in the engine's design.

A scenario's prompts depend on its name and the round only, so every contestant gets the same ones, and no cache is warm
but where that is meant. Times are in seconds, rates in tokens per second over all streams.
"""

import dataclasses
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any, ClassVar, Self

from tests.benchmarks.peers.client import Stream
from tests.benchmarks.peers.prompts import Prompts

Request = dict[str, Any]
Figures = dict[str, float]
"""Figures by the name of their metric."""
TEMPLATE_TOKENS = 32
"""How far a server's count of a real model's prompt may be off ours: some put a date or an empty thought into it."""


class Invalid(Exception):
    """The answers are not what was asked for, so their figures mean nothing."""


@dataclass(frozen=True)
class Metric:
    name: str
    title: str
    unit: str
    target: float | None
    """What Atelier must reach, as a multiple of the best peer: at least for rates, at most for times. None where the
    design has none."""

    @property
    def lower_is_better(self) -> bool:
        return self.unit == "s"


@dataclass(frozen=True)
class Setting:
    """What a scenario needs to run."""

    ask: Callable[..., list[Stream]]
    """ask(requests, in_flight=…, probe=…): the client's streams, the probe's last."""
    prompts: Prompts
    seed: str
    words_are_tokens: bool
    """The model writes one word with every token, so that a server's count of them can be checked."""

    def together(self, requests: list[Request], in_flight: int | None = None) -> list[Stream]:
        """All requests at once, or so many in flight. Raises Invalid unless each has its exact length."""
        streams = self.ask(requests, in_flight=in_flight or len(requests))
        for request, stream in zip(requests, streams, strict=True):
            self.check(request, stream)
        return streams

    def request(self, prompt: int, answer: int, name: str) -> Request:
        """A question of `prompt` tokens and an answer of `answer` tokens."""
        messages = self.prompts.user(prompt, f"{self.seed} {name}")
        return {"messages": messages, "max_tokens": answer, "prompt_tokens": prompt}

    def check(self, request: Request, stream: Stream) -> None:
        """Raises Invalid unless the answer is whole and exactly as long as was asked for."""
        if stream.error or not stream.whole:
            raise Invalid(stream.error or "no whole answer")
        self.check_prompt(request, stream)
        words, said, wanted = sum(stream.words), stream.completion_tokens, request["max_tokens"]
        counted = said if said is not None else words
        if counted != wanted or (self.words_are_tokens and words != wanted):
            raise Invalid(f"{wanted} tokens were asked for; the server counts {said}, its text has {words} words")

    def check_prompt(self, request: Request, stream: Stream) -> None:
        said, meant = stream.prompt_tokens, request["prompt_tokens"]
        allowed = 0 if self.words_are_tokens else TEMPLATE_TOKENS
        if said is not None and abs(said - meant) > allowed:
            raise Invalid(f"a prompt of {meant} tokens has {said} for the server")


@dataclass(frozen=True)
class Scenario(ABC):
    model: str
    quick: dict[str, int] = field(default_factory=dict)
    """What is smaller in a trial run."""

    kind: ClassVar[str]
    goes_last: ClassVar[bool] = False
    """It cuts streams off, which a server may go on with for a while."""

    @property
    def name(self) -> str:
        return f"{self.model}-{self.kind}"

    @property
    @abstractmethod
    def metrics(self) -> list[Metric]:
        """What it measures."""

    @property
    @abstractmethod
    def asked(self) -> str:
        """The load in words, for the report."""

    @abstractmethod
    def measure(self, setting: Setting) -> Figures:
        """Raises Invalid."""

    def quickly(self) -> Self:
        return dataclasses.replace(self, **self.quick)


@dataclass(frozen=True)
class Alone(Scenario):
    """One stream: the rate between the first piece of text and the last."""

    kind = "alone"
    prompt: int = 64
    answer: int = 128
    target: float = 1.0

    @property
    def metrics(self) -> list[Metric]:
        return [Metric(self.name, f"{self.model}: 1 stream", "tok/s", self.target)]

    @property
    def asked(self) -> str:
        return f"prompt of {self.prompt} tokens, answer of {self.answer}; decoding only, after the first token"

    def measure(self, setting: Setting) -> Figures:
        [stream] = setting.together([setting.request(self.prompt, self.answer, "alone")])
        return {self.name: decode_rate(stream, self.answer)}


@dataclass(frozen=True)
class Together(Scenario):
    """Requests that come at once: tokens per second from the first one sent to the last one answered."""

    kind = "together"
    count: int = 16
    prompt: int = 128
    answer: int = 64
    target: float = 1.0

    @property
    def metrics(self) -> list[Metric]:
        title = f"{self.model}: {self.count} at once, prefill included"
        return [Metric(self.name, title, "tok/s", self.target)]

    @property
    def asked(self) -> str:
        return f"{self.count} prompts of {self.prompt} tokens, answers of {self.answer}"

    def measure(self, setting: Setting) -> Figures:
        requests = [setting.request(self.prompt, self.answer, f"together {index}") for index in range(self.count)]
        return {self.name: total_rate(setting.together(requests), requests)}


@dataclass(frozen=True)
class SharedPrefix(Scenario):
    """Requests that come at once behind one system prompt which nobody has seen; then the very same ones again, and
    then other questions behind it: median time to the first token."""

    kind = "shared"
    count: int = 10
    system: int = 1300
    question: int = 48
    answer: int = 8
    cold_target: float = 0.2
    warm_target: float | None = 0.6

    @property
    def metrics(self) -> list[Metric]:
        title = f"{self.model}: {self.count} at once, same {self.system:,}-token system prompt"
        cold = Metric(f"{self.name}-cold", f"{title}, cold: median first token", "s", self.cold_target)
        warm = Metric(f"{self.name}-warm", f"{self.model}: the same again, warm", "s", self.warm_target)
        others = Metric(f"{self.name}-others", f"{self.model}: other questions behind it, warm", "s", None)
        return [cold, warm, others]

    @property
    def asked(self) -> str:
        return f"system prompt of {self.system} tokens, questions of {self.question}, answers of {self.answer}"

    def measure(self, setting: Setting) -> Figures:
        system = setting.prompts.text(self.system, f"{setting.seed} system")
        first, second = (
            [self._request(setting, system, f"{each} {index}") for index in range(self.count)]
            for each in ("first", "second")
        )
        times = [first_token(setting.together(requests)) for requests in (first, first, second)]
        return {metric.name: time for metric, time in zip(self.metrics, times, strict=True)}

    def _request(self, setting: Setting, system: str, name: str) -> Request:
        tokens = self.system + self.question
        messages = setting.prompts.behind(system, tokens, f"{setting.seed} {name}")
        return {"messages": messages, "max_tokens": self.answer, "prompt_tokens": tokens}


@dataclass(frozen=True)
class Interrupted(Scenario):
    """A long prompt arrives while others stream: the longest silence of one of them, and the wait for its first token.

    The silence counts from the arrival to the end of the long prompt's short answer: joining the batch is part of it.
    The streams are cut off then; an answer that was over before would make the prefill cheaper, so it is invalid.
    """

    kind = "interrupted"
    goes_last = True
    streams: int = 4
    prompt: int = 64
    answer: int = 6000
    long: int = 10_000
    long_answer: int = 16

    @property
    def metrics(self) -> list[Metric]:
        title = f"{self.model}: {self.streams} streams decode, a {self.long:,}-token prompt arrives"
        return [
            Metric(f"{self.name}-gap", f"{title}: longest gap in a stream", "s", 0.05),
            Metric(f"{self.name}-first", f"{self.model}: … and that prompt's first token", "s", 1.15),
        ]

    @property
    def asked(self) -> str:
        return (
            f"{self.streams} prompts of {self.prompt} tokens that stream on and on; "
            f"one of {self.long:,} with an answer of {self.long_answer}"
        )

    def measure(self, setting: Setting) -> Figures:
        requests = [setting.request(self.prompt, self.answer, f"stream {index}") for index in range(self.streams)]
        request = setting.request(self.long, self.long_answer, "long")
        *streams, probe = setting.ask(requests, in_flight=self.streams, probe=request)
        setting.check(request, probe)
        for stream in streams:
            if stream.error:
                raise Invalid(f"a stream beside the long prompt: {stream.error}")
            if stream.whole:
                raise Invalid("a stream was over before the long prompt was answered")
        gap = max(longest_gap(stream.times, probe.sent, probe.times[-1]) for stream in streams)
        return dict(zip((metric.name for metric in self.metrics), (gap, first_token([probe])), strict=True))


@dataclass(frozen=True)
class Unequal(Scenario):
    """Many short requests of unequal lengths, so many in flight: tokens per second over all."""

    kind = "unequal"
    count: int = 96
    in_flight: int = 16
    shortest_prompt: int = 32
    longest_prompt: int = 540
    shortest_answer: int = 8
    longest_answer: int = 40

    @property
    def metrics(self) -> list[Metric]:
        title = f"{self.model}: {self.count} short unequal requests, {self.in_flight} in flight"
        return [Metric(self.name, title, "tok/s", 1.3)]

    @property
    def asked(self) -> str:
        return (
            f"{self.count} prompts of {self.shortest_prompt} to {self.longest_prompt} tokens, "
            f"answers of {self.shortest_answer} to {self.longest_answer}"
        )

    def measure(self, setting: Setting) -> Figures:
        # The lengths are the same in every round: only then is the median one of equals.
        draw = random.Random(self.name)
        requests = [
            setting.request(
                draw.randint(self.shortest_prompt, self.longest_prompt),
                draw.randint(self.shortest_answer, self.longest_answer),
                f"unequal {index}",
            )
            for index in range(self.count)
        ]
        return {self.name: total_rate(setting.together(requests, self.in_flight), requests)}


def decode_rate(stream: Stream, tokens: int) -> float:
    """Tokens per second after the first piece; a server that puts several tokens into it gains nothing by that.

    Raises Invalid for an answer that came all at once.
    """
    if stream.times[-1] == stream.times[0]:
        raise Invalid("the whole answer came at once, so its rate can't be told")
    first = tokens * stream.words[0] / max(sum(stream.words), 1)
    return (tokens - first) / (stream.times[-1] - stream.times[0])


def total_rate(streams: list[Stream], requests: list[Request]) -> float:
    seconds = max(stream.times[-1] for stream in streams) - min(stream.sent for stream in streams)
    return sum(request["max_tokens"] for request in requests) / seconds


def first_token(streams: Iterable[Stream]) -> float:
    """Median seconds from sending a request to its first text."""
    return median(stream.times[0] - stream.sent for stream in streams)


def longest_gap(times: list[float], start: float, end: float) -> float:
    """The longest time without text between start and end, a silence that reaches into or out of it included."""
    inside = [time for time in times if start <= time <= end]
    before = max((time for time in times if time < start), default=start)
    marks = [before, *inside, end]
    return max(after - time for time, after in pairwise(marks))


def table() -> list[Scenario]:
    """The table, in its order."""
    few = {"answer": 16}
    shared = {"system": 400, "count": 4}
    unequal = {"count": 24, "longest_prompt": 96, "longest_answer": 16}
    return [
        Alone("small", quick=few),
        Together("small", quick=few),
        SharedPrefix("small", quick=shared),
        Interrupted("small", quick={"long": 1500}),
        Unequal("small", quick=unequal),
        Alone("tiny", answer=256, quick=few),
        Together("tiny", count=32, prompt=64, answer=128, target=1.8, quick=few),
        SharedPrefix("tiny", cold_target=0.25, warm_target=None, quick=shared),
        Unequal("tiny", in_flight=32, quick=unequal),
    ]


def for_real_model(scenarios: list[Scenario], name: str) -> list[Scenario]:
    """The small model's scenarios, asked of another model."""
    return [dataclasses.replace(scenario, model=name) for scenario in scenarios if scenario.model == "small"]
