"""What can be compiled, how it is read, and what is refused in which words."""

import json

import pytest

from inference.engine.guidance.errors import GrammarError
from inference.engine.guidance.grammars import REMEMBERED
from inference.engine.prepare import Refusal, prepare
from inference.engine.protocol import Format, Generate
from tests.support.guided import SAY, schema_format
from tests.support.models_made import trained

DEEP = {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}


@pytest.fixture(scope="module")
def grammars():
    return trained().grammars


def accepts(grammars, form: Format, text: str) -> bool:
    matcher = grammars.matcher(grammars.of_format(form))
    return bool(matcher.consume_tokens(grammars._tokens.tokenize_str(text)) and matcher.is_accepting())


def nested(levels: int) -> str:
    return '{"items":' * levels + "{}" + "}" * levels


REFUSED = {
    "no JSON": ("json_schema", "{", "no JSON"),
    "not an object": ("json_schema", "[]", "JSON object"),
    "nothing": ("json_schema", "false", "JSON object"),
    "unknown type": ("json_schema", '{"type": "text"}', "text"),
    "type of a wrong type": ("json_schema", '{"type": 5}', "type must be"),
    "properties of a wrong type": ("json_schema", '{"type": "object", "properties": []}', "properties"),
    "a keyword": ("json_schema", '{"type": "array", "uniqueItems": true}', "uniqueItems"),
    "two keywords": ("json_schema", '{"not": {}, "if": {}}', "if, not"),
    "unknown format": ("json_schema", '{"type": "string", "format": "colour"}', "colour"),
    "alternatives that overlap": ("json_schema", '{"oneOf": [{"type": "integer"}, {"type": "number"}]}', "oneOf"),
    "no such place": ("json_schema", '{"$ref": "#/$defs/a"}', "/$defs/a"),
    "another document": ("json_schema", '{"$ref": "https://example.com/a.json"}', "$ref"),
    "contradiction": ("json_schema", '{"type": "integer", "minimum": 5, "maximum": 3}', "minimum (5)"),
    "look-ahead": ("json_schema", '{"type": "string", "pattern": "^(?=a)b"}', "look-ahead"),
    "deep": ("json_schema", nested(300), "nested too deeply"),
    "very deep": ("json_schema", nested(5000), "nested too deeply"),
    "itself": ("json_schema", '{"$ref": "#"}', "has an end"),
    "endless": ("json_schema", json.dumps(DEEP), "has an end"),
    "not a number": ("json_schema", '{"type": "array", "minItems": 1e9}', "minItems"),
    "unclosed group": ("regex", "(a", "unclosed group"),
    "unknown rule": ("grammar", "start: sum", 'at 1(8): unknown name: "sum"'),
    "no start": ("grammar", 'begin: "a"', "start"),
    "no text": ("grammar", "start: A\nA: /a/ & /b/", "nothing follows it"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_followed_is_refused(grammars, case):
    kind, text, says = REFUSED[case]
    for _ in range(2):  # the second time it is known
        with pytest.raises(GrammarError) as refused:
            grammars.matcher(grammars.of_format(Format(kind, text)))
        message = str(refused.value)
        assert says in message and "\n" not in message and len(message) < 400


# --- the same grammar again ------------------------------------------------------------------------------------------


def test_matchers_of_one_grammar_are_independent(grammars):
    grammar = grammars.of_format(Format("regex", "ab|cd"))
    first, second = grammars.matcher(grammar), grammars.matcher(grammar)
    a, b = grammars._tokens.tokenize_str("a")[0], grammars._tokens.tokenize_str("b")[0]
    assert first.consume_token(a) and first.consume_token(b) and first.is_accepting()
    assert not second.is_accepting() and not second.consume_token(b)
    assert grammars.matcher(grammar).consume_token(a)


def test_what_is_remembered_is_bounded(grammars):
    for at in range(12):
        last = grammars.of_format(schema_format({"const": f"{at}", "description": "x" * 400_000}))
        grammars.matcher(last)
    assert sum(len(grammar.text) for grammar in grammars._known) == grammars._characters <= REMEMBERED
    assert last in grammars._known and len(grammars._known) < 12


# --- how a schema is read --------------------------------------------------------------------------------------------


def test_white_space_is_bounded(grammars):
    form = schema_format({"type": "array", "items": {"type": "integer"}})
    assert accepts(grammars, form, "[1,\n    2, 3 ]")
    assert not accepts(grammars, form, f"[1,{' ' * 30}2]")


UNIQUE = {"type": "array", "uniqueItems": True}


@pytest.mark.parametrize(
    "schema",
    [
        {**UNIQUE, "x-guidance": {"lenient": True}},
        {"type": "object", "properties": {"a": {**UNIQUE, "x-guidance": {"lenient": True}}}},
        {"anyOf": [{"type": "null"}, {**UNIQUE, "x-guidance": {"lenient": True}}], "x-guidance": {"lenient": True}},
    ],
)
def test_how_a_schema_is_read_is_not_for_clients_to_choose(grammars, schema):
    with pytest.raises(GrammarError, match="uniqueItems"):
        grammars.matcher(grammars.of_format(schema_format(schema)))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"$ref": "#"}},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 0},
        {"anyOf": [{"type": "null"}, DEEP]},
        {"type": ["object", "null"], "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {**DEEP, "required": []},
        {"$defs": {"a": {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"},
        {"type": "array", "prefixItems": [{"type": "null"}], "items": {"$ref": "#"}, "minItems": 1},
        {"$defs": {"a~/ b": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/a~0~1%20b"}}},
    ],
    ids=str,
)  # fmt: skip
def test_recursion_that_can_end_is_followed(grammars, schema):
    grammars.matcher(grammars.of_format(schema_format(schema)))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
        {"type": "array", "prefixItems": [{"$ref": "#"}], "minItems": 1},
        {"allOf": [{"type": "object"}, DEEP]},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"oneOf": [{"$ref": "#/$defs/a"}, DEEP]}}, "$ref": "#/$defs/a"},
    ],
    ids=str,
)  # fmt: skip
def test_recursion_that_can_not_end_is_refused(grammars, schema):
    with pytest.raises(GrammarError, match="has an end"):
        grammars.matcher(grammars.of_format(schema_format(schema)))


# --- tools -----------------------------------------------------------------------------------------------------------


def refusal(parameters: object, *, strict: bool | None = None, **request: object) -> Refusal | None:
    function = {"name": "f", "parameters": parameters, **({} if strict is None else {"strict": strict})}
    other = {"name": "g", "parameters": {"type": "object", "properties": {}}, "strict": True}
    tools = [{"type": "function", "function": each} for each in (other, function)]
    try:
        prepare(b"c", Generate(id="x", messages=SAY, tools=tools, **{"tool_choice": "required", **request}), trained())
    except Refusal as refused:
        return refused
    return None


def of(schema: object) -> dict[str, object]:
    return {"type": "object", "properties": {"a": schema}}


LENIENT = {
    "uniqueItems": of(UNIQUE),
    "not": of({"not": {"type": "string"}}),
    "if": {**of({}), "if": {"required": ["a"]}, "then": {}},
    "oneOf": of({"oneOf": [{"type": "integer"}, {"type": "number"}]}),
    "colour": of({"type": "string", "format": "colour"}),
}


@pytest.mark.parametrize("keyword", LENIENT)
@pytest.mark.parametrize(
    "request_", [{}, {"format": schema_format({"type": "object"}), "tool_choice": "auto"}], ids=["", "or"]
)
def test_only_strict_tools_have_promised_that_every_keyword_counts(keyword, request_):
    assert refusal(LENIENT[keyword], **request_) is None
    assert refusal(LENIENT[keyword], strict=False, **request_) is None
    refused = refusal(LENIENT[keyword], strict=True, **request_)
    assert refused is not None and refused.param == "tools" and refused.code == "invalid_format"
    assert "tools" in refused.message and "`f`" in refused.message and keyword in refused.message


def test_clients_do_not_make_a_strict_tool_lenient():
    refused = refusal({**of(UNIQUE), "x-guidance": {"lenient": True}}, strict=True)
    assert refused is not None and "uniqueItems" in refused.message


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"type": "array"}, "`type` must be `object`"),
        (of({"type": "text"}), "text"),
        (of({"$ref": "#/$defs/b"}), "/$defs/b"),
        (of({"type": "string", "pattern": "(?=a)"}), "look-ahead"),
        (DEEP, "has an end"),
    ],
)
def test_parameters_that_can_not_be_followed(parameters, says):
    refused = refusal(parameters)
    assert refused is not None and refused.param == "tools" and says in refused.message


def test_a_form_beside_tools_is_blamed_for_itself():
    refused = refusal(of({}), format=schema_format({"type": "text"}), tool_choice="auto")
    assert refused is not None and refused.param == "response_format" and "text" in refused.message


def test_tools_without_parameters_are_called_without_arguments(grammars):
    for parameters in (None, {}):
        tool = {"function": {"name": "f", "parameters": parameters}}
        matcher = grammars.matcher(grammars.of_arguments(tool))
        assert matcher.consume_tokens(grammars._tokens.tokenize_str("{}")) and matcher.is_accepting()
        assert not grammars.matcher(grammars.of_arguments(tool)).consume_tokens(grammars._tokens.tokenize_str('{"a'))


CALL = '{"name": "f", "arguments": {}}'
MARKED = f"<tool_call>\n{CALL}\n</tool_call>"


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize(
    ("marks", "one", "two"),
    [(True, MARKED, f"{MARKED}\n{MARKED}"), (False, CALL, f"[{CALL}, {CALL}]")],
    ids=["marked", "plain"],
)
def test_several_calls_where_they_are_allowed(grammars, parallel, marks, one, two):
    form = trained().markup.tools if marks else None
    grammar = grammars.of_calls(form, [{"function": {"name": "f"}}], parallel=parallel)

    def whole(text: str) -> bool:
        matcher = grammars.matcher(grammar)
        return bool(matcher.consume_tokens(grammars._tokens.tokenize_str(text)) and matcher.is_accepting())

    assert whole(one) and whole(two) is parallel
    assert not whole(f"{one} "), "nothing beside them"
