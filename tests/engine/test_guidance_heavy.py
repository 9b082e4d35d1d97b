"""Grammars that are more than they look like: each works or is refused, in seconds, and takes nobody with it."""

import json
import threading
from time import sleep

import pytest
from llguidance import LLMatcher

from inference.engine.guidance.errors import GrammarError
from inference.engine.guidance.trial import survives
from inference.engine.protocol import Format, Sampling
from tests.support.engine_made import Engine
from tests.support.guided import HOT, answer, check, hot, schema_format, submit
from tests.support.models_made import trained, words
from tests.support.schemas import SCHEMAS

DOUBLING = "\n".join(f"A{at}: A{at + 1} A{at + 1}" for at in range(16)) + '\nA16: "a"?'
OPTIONAL = "[^a]?" * 12_000
AMBIGUOUS = 'start: s\ns: s s s | s s | /[a-z]/ | s "x" s'


def chain(count: int, rule: str, last: str) -> str:
    """Of rules that each name the next."""
    return "\n".join([*(rule.format(at, at + 1) for at in range(count)), last.format(count)])


def references(count: int, target: str, **others: object) -> str:
    definitions = {str(at): json.loads(target.replace("NEXT", f"#/$defs/{at + 1}")) for at in range(count)}
    return json.dumps({"$defs": {**definitions, str(count): {"type": "integer"}}, "$ref": "#/$defs/0", **others})


def patterns(letters: str) -> str:
    return json.dumps({"allOf": [{"type": "string", "pattern": f"(.*{letter}.*){{3}}"} for letter in letters]})


REFUSED = {
    "optional parts": ("regex", OPTIONAL),
    "terminals that double": ("grammar", f"start: A0\n{DOUBLING}"),
    "the same behind a special token": ("grammar", f"start: <|im_end|> A0\n{DOUBLING}"),
    "a chain of rules": ("grammar", chain(30_000, "a{}: a{}", 'a{}: "y"').replace("a0:", "start:")),
    "a chain of terminals": ("grammar", "start: A0\n" + chain(20_000, 'A{}: "x" A{}', 'A{}: "y"')),
    "a chain of references": ("json_schema", references(9000, '{"$ref": "NEXT"}')),
    "a chain of properties": (
        "json_schema",
        references(4000, '{"type": "object", "properties": {"a": {"$ref": "NEXT"}}, "required": ["a"]}'),
    ),
    "too many properties": (
        "json_schema",
        json.dumps({"type": "object", "properties": {f"p{at}": {} for at in range(4000)}}),
    ),
    "patterns that all have to fit": ("json_schema", patterns("abcdefghijk")),
    "longer than may be": ("grammar", f'start: "{"a" * 600_000}"'),
}
WORKS = {
    "a billion items": '{"type": "array", "items": {"type": "integer"}, "minItems": 1000000000}',
    "a billion characters": '{"type": "string", "minLength": 1000000000, "maxLength": 2000000000}',
    "repetitions of repetitions": '{"type": "string", "pattern": "^((a{1,1000}){1,1000}){1,1000}$"}',
    "many values": json.dumps({"enum": [f"value {at}" for at in range(15_000)]}),
    "many numbers": json.dumps({"enum": list(range(40_000))}),
    "references that double": references(25, '{"allOf": [{"$ref": "NEXT"}, {"$ref": "NEXT"}]}'),
}


@pytest.fixture(scope="module")
def grammars():
    return trained().grammars


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_too_heavy_is_refused(grammars, case):
    """Some of these took minutes, others ended the process."""
    kind, text = REFUSED[case]
    says = "512 KiB" if case == "longer than may be" else "too complex"
    with pytest.raises(GrammarError, match=says):
        grammars.matcher(grammars.of_format(Format(kind, text)))


@pytest.mark.parametrize("case", WORKS)
def test_what_only_looks_heavy_works(grammars, case):
    matcher = grammars.matcher(grammars.of_format(Format("json_schema", WORKS[case])))
    matcher.compute_bitmask()
    assert not matcher.is_error()


def test_a_trial_does_not_judge():
    """What is wrong with a grammar is for the compiler to say."""
    assert survives(LLMatcher.grammar_from_regex("(a"), [], 100)
    assert not survives(LLMatcher.grammar_from_regex(OPTIONAL), [], 100)


def test_other_threads_go_on_while_a_grammar_is_compiled(grammars):
    turns, done = 0, threading.Event()

    def work() -> None:
        nonlocal turns
        while not done.is_set():
            sleep(0.001)
            turns += 1

    thread = threading.Thread(target=work)
    thread.start()
    with pytest.raises(GrammarError):
        grammars.matcher(grammars.of_format(Format("regex", OPTIONAL + "b")))
    done.set()
    thread.join()
    assert turns > 100, "of the thousand or two that there is time for"


def test_a_grammar_that_grows_too_complex_on_the_way_fails_its_row_alone():
    """It can be compiled; but the more is said, the more ways there are to read it."""
    model = trained()
    schema = SCHEMAS["nested"]
    with Engine(model) as engine:
        endless = Sampling(temperature=HOT, seed=1, logit_bias=dict.fromkeys(model.end_tokens, -50.0))
        [bad] = submit(engine, "bad", format=Format("grammar", AMBIGUOUS), sampling=endless, max_tokens=500)
        fine = [submit(engine, f"{seed}", format=schema_format(schema), sampling=hot(seed))[0] for seed in range(3)]
        free = engine.submit(words(1, 9, model), say=words(2, 60, model))
        engine.finish()
        assert engine.output.ends[bad.id] == ["engine_error"] and engine.said(bad.id)
        assert engine.said(free) == engine.tap.script[free]
        for each in fine:
            told = answer(engine, each)
            assert told.reason == "stop"
            check(schema, told.text)
