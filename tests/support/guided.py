"""Answers that follow a form, from an engine in the test's own process."""

import json
import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jsonschema

from inference.engine.prepare import prepare
from inference.engine.protocol import Format, Generate, Sampling
from inference.engine.sequence import Sequence
from tests.support.engine_made import CLIENT, Engine

HOT = 1.5
"""A temperature at which a model left to itself writes nonsense."""
DATE = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
TIME = r"([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
SHAPES = {"date": re.compile(DATE), "date-time": re.compile(rf"{DATE}T{TIME}", re.IGNORECASE)}
SAY: list[dict[str, Any]] = [{"role": "user", "content": "Tell me something."}]


@dataclass
class Call:
    name: str
    arguments: str = ""


@dataclass
class Answer:
    """As a client puts it together."""

    text: str = ""
    reasoning: str = ""
    calls: list[Call] = field(default_factory=list)
    reason: str = ""
    tokens: list[int] = field(default_factory=list)


def schema_format(schema: Any) -> Format:
    return Format("json_schema", json.dumps(schema))


def hot(seed: int) -> Sampling:
    return Sampling(temperature=HOT, seed=seed)


def submit(engine: Engine, id: str, **request: Any) -> list[Sequence]:
    """A chat; its answers, once `engine` has finished, are told by `answer`."""
    request = {"messages": SAY, "max_tokens": 3000, **request}
    sequences = prepare(CLIENT, Generate(id=id, **request), engine.model).sequences
    for sequence in sequences:
        sequence.received = engine.now
        engine.sequences[sequence.id] = sequence
        engine.core.submit(sequence)
    return sequences


def answer(engine: Engine, sequence: Sequence) -> Answer:
    """What its tokens say."""
    [reason] = engine.output.ends[sequence.id]
    told = Answer(reason=reason, tokens=engine.said(sequence.id))
    pieces = [*(sequence.speech.push(token) for token in told.tokens), sequence.speech.flush(whole=reason == "stop")]
    for said in pieces:
        told.text += said.text
        told.reasoning += said.reasoning
        for delta in said.calls:
            if delta.name is not None:
                told.calls.append(Call(delta.name))
            told.calls[delta.index].arguments += delta.arguments
    return told


def ask(engine: Engine, requests: list[dict[str, Any]]) -> list[Answer]:
    """All at once; the answers in their order, each request's one after another."""
    sequences = [each for at, request in enumerate(requests) for each in submit(engine, f"r{at}", **request)]
    engine.finish(20_000)
    return [answer(engine, sequence) for sequence in sequences]


@cache
def validator(schema: str) -> Any:
    checker = jsonschema.FormatChecker()
    # Of these the library knows nothing without more packages, or which years have a 29th of February.
    for name, pattern in SHAPES.items():
        checker.checks(name)(
            lambda value, pattern=pattern: not isinstance(value, str) or bool(pattern.fullmatch(value))
        )
    return jsonschema.Draft202012Validator(json.loads(schema), format_checker=checker)


def check(schema: Any, text: str) -> Any:
    """The value, which is valid, or this raises."""
    value = json.loads(text)
    validator(json.dumps(schema)).validate(value)
    return value
