"""Requests without a model, and a machine that costs them time but computes nothing."""

from collections.abc import Callable, Iterable
from typing import Any

from inference.engine.scheduling.job import Job
from tests.benchmarks.machine import Costs, Machine, Request


def machine(**options: Any) -> Machine:
    return Machine(costs=Costs(noise=0.0), **options)


def request(id: object, user: str = "ann", prompt: int = 100, output: int = 10, **fields: Any) -> Request:
    return Request(str(id), user, prompt, output, **fields)


def names(jobs: Iterable[Job]) -> list[str]:
    return [job.id for job in jobs]


def fill(machine: Machine, user: str, count: int, output: int = 10_000, **fields: Any) -> list[Request]:
    """The user's requests get rows and decode."""
    filling = [request(f"{user}-{n}", user, prompt=65, output=output, **fields) for n in range(count)]
    for each in filling:
        machine.add(each)
    steps(machine, lambda: not all(each.launched for each in filling))
    return filling


def steps(machine: Machine, busy: Callable[[], object], limit: int = 500) -> int:
    """Steps for as long as there is something to wait for; how many."""
    taken = 0
    while busy():
        machine.step()
        taken += 1
        assert taken < limit
    return taken
