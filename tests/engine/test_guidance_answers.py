"""Whatever is asked of a model that is drawn from at a temperature of 1.5, what it says has the form it must have."""

import json
import re

import pytest

from inference.engine.guidance.grammars import MARKED
from inference.engine.model import load_model
from inference.engine.protocol import Format, Sampling
from inference.sources import BUILTIN_FOLDER
from tests.support.engine_made import Engine
from tests.support.guided import HOT, Answer, ask, check, hot, schema_format
from tests.support.models_made import trained
from tests.support.schemas import LIST, SCHEMAS, WORD

MANY = 32
DIGIT = {"type": "integer", "minimum": 0, "maximum": 9}
TOOLS = [
    {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": WORD, "unit": {"enum": ["celsius", "fahrenheit"]}},
            "required": ["city", "unit"],
        },
    },
    {
        "name": "draw_line",
        "strict": True,
        "parameters": {
            "$defs": {"point": {"type": "array", "items": DIGIT, "minItems": 2, "maxItems": 2}},
            "type": "object",
            "properties": {"from": {"$ref": "#/$defs/point"}, "to": {"$ref": "#/$defs/point"}},
            "required": ["from", "to"],
            "additionalProperties": False,
        },
    },
    {
        "name": "say.again",
        "parameters": {
            "$defs": {"point": WORD},
            "type": "object",
            "properties": {"what": {"$ref": "#/$defs/point"}, "times": {"type": "integer", "minimum": 1, "maximum": 5}},
            "required": ["times"],
        },
    },
    {"name": "stop"},
    {
        "name": "vote",
        "parameters": {
            "type": "object",
            "properties": {"for": {"oneOf": [DIGIT, {"type": "number", "minimum": 20, "maximum": 30}]}},
            "required": ["for"],
            "uniqueItems": True,
        },
    },
]
"""Two of them mean different things by the same reference."""


def tools(*names: str) -> list[dict[str, object]]:
    return [{"type": "function", "function": each} for each in TOOLS if not names or each["name"] in names]


@pytest.fixture(scope="module")
def model():
    return trained()


@pytest.fixture(scope="module")
def unmarked():
    """The same model, said to write its calls in a form that no grammar here knows: they come as plain JSON."""
    model = load_model(str(BUILTIN_FOLDER / "atelier-tiny"), "atelier-tiny", tool_parser="pythonic")
    assert model.markup.tools.name not in MARKED
    return model


def all_of(model, count=MANY, **request) -> list[Answer]:
    """As many answers as that, each drawn with a seed of its own."""
    with Engine(model) as engine:
        return ask(engine, [{**request, "sampling": hot(seed)} for seed in range(count)])


@pytest.mark.parametrize("name", SCHEMAS)
def test_answers_are_valid(model, name):
    schema = SCHEMAS[name]
    answers = all_of(model, format=schema_format(schema))
    assert {answer.reason for answer in answers} == {"stop"}
    for answer in answers:
        check(schema, answer.text)
    assert len({answer.text for answer in answers}) > 3, "they were to be drawn"


def test_all_schemas_at_once(model):
    """Each row has a grammar of its own."""
    names = [list(SCHEMAS)[at % len(SCHEMAS)] for at in range(MANY)]
    with Engine(model) as engine:
        requests = [{"format": schema_format(SCHEMAS[name]), "sampling": hot(seed)} for seed, name in enumerate(names)]
        # Beside them, some that may say anything.
        requests += [{"sampling": hot(seed), "max_tokens": 40} for seed in range(4)]
        answers = ask(engine, requests)
    for name, answer in zip(names, answers, strict=False):
        assert answer.reason == "stop"
        check(SCHEMAS[name], answer.text)
    assert all(answer.tokens for answer in answers[MANY:])


def test_a_schema_that_contains_itself(model):
    """Some of these go on for as long as they may."""
    answers = all_of(model, format=schema_format(LIST), max_tokens=300)
    ended = [answer for answer in answers if answer.reason == "stop"]
    assert len(ended) > MANY // 4
    assert any(check(LIST, answer.text)["tail"] for answer in ended)


def test_json_objects(model):
    """Of these some may go on for ever."""
    answers = all_of(model, format=Format("json_object"), max_tokens=600)
    ended = [answer for answer in answers if answer.reason == "stop"]
    assert len(ended) >= MANY // 4
    assert all(isinstance(json.loads(answer.text), dict) for answer in ended)
    assert all(answer.text.startswith("{") for answer in answers)


@pytest.mark.parametrize(
    "pattern", [r"(ja|nein|vielleicht)(, [a-z]{2,8}){0,3}", r"\d{3}-\d{4}", "[α-ω]{1,9}", r'"(\\.|[^"\\]){0,9}"']
)
def test_regular_expressions(model, pattern):
    for answer in all_of(model, format=Format("regex", pattern)):
        assert answer.reason == "stop" and re.fullmatch(pattern, answer.text, re.DOTALL)


LARK = r"""
start: sum
sum: term (" + " term){0,3}
term: NUMBER | "(" NUMBER " - " NUMBER ")"
NUMBER: /[1-9][0-9]{0,2}/
"""


def test_lark(model):
    number = "[1-9][0-9]{0,2}"
    term = rf"({number}|\({number} - {number}\))"
    for answer in all_of(model, format=Format("grammar", LARK)):
        assert answer.reason == "stop" and re.fullmatch(rf"{term}( \+ {term}){{0,3}}", answer.text)


# --- tools -----------------------------------------------------------------------------------------------------------


def checked(answer: Answer) -> list[str]:
    """The names of what it calls, all of it valid and nothing said beside."""
    assert answer.reason == "stop" and not answer.text and answer.calls
    for call in answer.calls:
        [parameters] = [each.get("parameters", {"maxProperties": 0}) for each in TOOLS if each["name"] == call.name]
        assert isinstance(check(parameters, call.arguments), dict)
    return [call.name for call in answer.calls]


@pytest.mark.parametrize("marks", ["marked", "unmarked"])
def test_calls_that_are_required_are_valid(request, model, marks):
    model = model if marks == "marked" else request.getfixturevalue("unmarked")
    answers = all_of(model, tools=tools(), tool_choice="required", max_tokens=5000)
    names = [checked(answer) for answer in answers]
    assert {name for each in names for name in each} == {each["name"] for each in TOOLS}


@pytest.mark.parametrize("marks", ["marked", "unmarked"])
def test_one_call_where_several_are_not_allowed(request, model, marks):
    model = model if marks == "marked" else request.getfixturevalue("unmarked")
    for answer in all_of(model, tools=tools(), tool_choice="required", parallel_tool_calls=False):
        assert len(checked(answer)) == 1


@pytest.mark.parametrize("name", [each["name"] for each in TOOLS])
def test_the_tool_that_is_named_is_called_once(model, name):
    for answer in all_of(model, 12, tools=tools(), tool_choice="required", tool_name=name):
        assert checked(answer) == [name]


def test_a_form_beside_tools_leaves_the_choice(model):
    """JSON of the form, or calls."""
    schema = SCHEMAS["references"]
    answers = all_of(model, tools=tools("get_weather"), format=schema_format(schema), max_tokens=5000)
    said = [answer for answer in answers if not answer.calls]
    for answer in answers:
        if answer.calls:
            checked(answer)
        else:
            check(schema, answer.text)
    assert 0 < len(said) < MANY


# --- thoughts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [None, 20, 3, 0])
def test_the_grammar_begins_after_the_thought(model, budget):
    schema = SCHEMAS["numbers"]
    answers = all_of(
        model, format=schema_format(schema), template={"enable_thinking": True}, max_thinking_tokens=budget,
        max_tokens=6000,
    )  # fmt: skip
    for answer in answers:
        assert answer.reason == "stop"
        check(schema, answer.text)
        assert "think>" not in answer.text + answer.reasoning
    thoughts = [answer.reasoning for answer in answers]
    if budget is None:
        assert sum(bool(thought) for thought in thoughts) > MANY // 4
    if budget == 0:
        assert not any(thoughts)
    if budget == 20:
        assert any(thoughts)
        spent = model.tokenizer.encode
        assert all(len(spent(thought, add_special_tokens=False)) <= 3 * budget for thought in thoughts)


def test_calls_after_a_thought(model):
    answers = all_of(
        model, 16, tools=tools(), tool_choice="required", template={"enable_thinking": True}, max_thinking_tokens=30,
        max_tokens=6000,
    )  # fmt: skip
    assert all(checked(answer) for answer in answers)
    assert any(answer.reasoning for answer in answers)


# --- several answers -------------------------------------------------------------------------------------------------


def test_each_of_several_answers_has_a_matcher_of_its_own(model):
    schema = SCHEMAS["nested"]
    with Engine(model) as engine:
        answers = ask(engine, [{"format": schema_format(schema), "sampling": hot(7), "n": 8}])
    assert len(answers) == 8 and len({answer.text for answer in answers}) == 8
    for answer in answers:
        assert answer.reason == "stop"
        check(schema, answer.text)


def test_what_bias_and_penalties_prefer_is_still_of_the_form(model):
    quote = model.tokenizer.encode('"', add_special_tokens=False)[0]
    sampling = Sampling(temperature=HOT, logit_bias={quote: 50.0}, presence_penalty=2.0, frequency_penalty=2.0, seed=1)
    schema = SCHEMAS["nested"]
    with Engine(model) as engine:
        [answer] = ask(engine, [{"format": schema_format(schema), "sampling": sampling}])
    assert answer.reason == "stop"
    check(schema, answer.text)
