"""Calls of tools, in every format that the parsers know, come out the same however the tokens fall."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engine.text.call_json import is_object
from inference.engine.text.markup import JSON_CALLS, Markup, tool_parsers
from inference.engine.text.speech import State
from tests.engine.listening import hear, markup, splits
from tests.engine.recorded_calls import CODE, PARIS, TIME, TOOLS, Recorded
from tests.engine.recorded_json import IN_JSON
from tests.engine.recorded_tags import IN_TAGS
from tests.engine.recorded_whole import READ_WHOLE

RECORDED = [*IN_JSON, *IN_TAGS, *READ_WHOLE]

STREAMED = (
    "json_tools",
    "qwen3_coder",
    "mistral",
    "kimi_k2",
    "cohere2_moe",
    "harmony",
    "minimax_m2",
    "glm47",
    "longcat",
)


def test_every_format_is_recorded():
    assert {recorded.form for recorded in RECORDED} == set(tool_parsers())


@pytest.mark.parametrize("recorded", RECORDED, ids=str)
def test_what_is_told_of_a_recorded_answer(recorded: Recorded):
    heard = hear([recorded.answer], markup(recorded.form, recorded.thoughts), TOOLS)
    assert heard.parsed == recorded.calls
    assert (heard.text, heard.reasoning) == (recorded.text, recorded.reasoning)
    assert len(set(heard.ids)) == len(heard.ids)


@pytest.mark.parametrize("recorded", RECORDED, ids=str)
def test_no_split_changes_it(recorded: Recorded):
    marks = markup(recorded.form, recorded.thoughts)
    whole = hear([recorded.answer], marks, TOOLS).said
    for pieces in splits(recorded.answer):
        assert hear(pieces, marks, TOOLS).said == whole, pieces


@given(recorded=st.sampled_from(RECORDED), lengths=st.lists(st.integers(1, 9), min_size=1, max_size=400))
@settings(max_examples=200, deadline=None)
def test_nor_do_many_splits(recorded: Recorded, lengths: list[int]):
    marks = markup(recorded.form, recorded.thoughts)
    pieces, rest = [], recorded.answer
    for length in lengths:
        pieces.append(rest[:length])
        rest = rest[length:]
    assert hear([*pieces, rest], marks, TOOLS).said == hear([recorded.answer], marks, TOOLS).said


ENDED = [each for each in RECORDED if (end := markup(each.form).tools.end) and each.answer.endswith(end)]


@pytest.mark.parametrize("recorded", ENDED, ids=str)
def test_text_goes_on_behind_a_call(recorded: Recorded):
    tail = "" if recorded.form != "harmony" else "<|start|>assistant<|channel|>final<|message|>"
    answer = f"{recorded.answer}\n{tail}And so on. "
    marks = markup(recorded.form, recorded.thoughts)
    for pieces in ([answer], list(answer)):
        heard = hear(pieces, marks, TOOLS)
        assert heard.parsed == recorded.calls
        assert heard.text == f"{recorded.text}And so on. "


@pytest.mark.parametrize("form", STREAMED)
def test_arguments_are_told_as_they_come(form: str):
    """A long string is not held until its call ends."""
    recorded = next(each for each in RECORDED if each.form == form and each.calls)
    heard = hear(recorded.answer, markup(form, recorded.thoughts), TOOLS)
    deltas = [call for said in heard.moments for call in said.calls]
    assert len(deltas) > 2 * len(heard.calls)
    begun = next(i for i, said in enumerate(heard.moments) if said.calls)
    city = recorded.answer.index("Paris")
    assert begun < city + len("Paris"), "the name is known before the arguments"


@pytest.mark.parametrize("form", ["kimi_k3", "minimax_m3", "atem", "muse_spark"])
def test_calls_of_a_section_are_told_one_by_one(form: str):
    recorded = next(each for each in RECORDED if each.form == form and len(each.calls) > 1)
    heard = hear(recorded.answer, markup(form, recorded.thoughts), TOOLS)
    assert sum(1 for said in heard.moments if said.calls) == len(recorded.calls)


@pytest.mark.parametrize("recorded", [each for each in RECORDED if each.form == "kimi_k2"], ids=str)
def test_the_ids_that_a_model_gives_are_kept(recorded: Recorded):
    ids = hear([recorded.answer], markup("kimi_k2"), TOOLS).ids
    assert all(id.rpartition(":")[2].isdigit() for id in ids)


# --- broken ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recorded", RECORDED, ids=str)
def test_an_answer_that_is_cut_off_tells_a_beginning(recorded: Recorded):
    """Of text, thought and calls, with arguments that are whole or visibly are not."""
    marks = markup(recorded.form, recorded.thoughts)
    whole = hear([recorded.answer], marks, TOOLS)
    for end in range(len(recorded.answer)):
        for pieces in ([recorded.answer[:end]], list(recorded.answer[:end])):
            heard = hear(pieces, marks, TOOLS, whole=False)
            assert whole.reasoning.startswith(heard.reasoning)
            assert len(heard.calls) <= len(whole.calls)
            for (name, arguments), (its_name, all_of_it) in zip(heard.calls, whole.calls, strict=False):
                assert name == its_name
                assert all_of_it.startswith(arguments)


def test_a_call_that_is_cut_off_stays_unfinished():
    answer = '<tool_call>\n{"name": "write_file", "arguments": {"path": "a", "content": "half'
    heard = hear([answer], markup("json_tools"), TOOLS, whole=False)
    assert heard.calls == [("write_file", '{"path": "a", "content": "half')]
    assert heard.text == ""


def test_a_call_that_is_cut_off_before_its_arguments_is_dropped():
    heard = hear(['Hm.\n<tool_call>\n{"name": "write_fi'], markup("json_tools"), TOOLS, whole=False)
    assert heard.said == ("Hm.", "", [], None)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{}",
        "[]",
        "not JSON",
        '{"name": ""}',
        '{"arguments": {}}',
        '{"name": 3}',
        "null",
        '{"name": "f", "arguments": 3}',
    ],
)
def test_what_is_no_call_is_text_without_its_marks(body: str):
    answer = f"a <tool_call>\n{body}\n</tool_call> b"
    for pieces in splits(answer):
        heard = hear(pieces, markup("json_tools"), TOOLS)
        assert heard.calls == []
        assert heard.text == f"a{body}b"


def test_arguments_that_break_stay_without_their_end():
    """A quote inside a string that is not escaped: the call is begun, and nobody may take it for whole."""
    answer = (
        '<tool_call>{"name": "write_file", "arguments": {"path": "a", "content": "he said "no" there"}}</tool_call>ok'
    )
    for pieces in splits(answer):
        heard = hear(pieces, markup("json_tools"), TOOLS)
        assert [name for name, _ in heard.calls] == ["write_file"]
        assert not is_object(heard.calls[0][1])
        assert heard.text == "ok"


@pytest.mark.parametrize("whole", [True, False])
def test_an_end_that_is_missing(whole: bool):
    answer = '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"}}'
    for pieces in splits(answer):
        assert hear(pieces, markup("json_tools"), TOOLS, whole=whole).parsed == [PARIS]


def test_a_string_that_never_ends_ends_with_its_call():
    """The end's mark may be a part of it; where another call begins, or the answer ends, it is not."""
    broken = '<tool_call>{"name": "write_file", "arguments": {"path": "a}}</tool_call>'
    answer = f'{broken} Next.\n<tool_call>{{"name": "get_time"}}</tool_call>'
    for pieces in splits(answer):
        heard = hear(pieces, markup("json_tools"), TOOLS)
        assert heard.calls == [("write_file", '{"path": "a}}'), ("get_time", "{}")]
        assert heard.text == "Next."
    for pieces in splits(f"{broken} Next."):
        heard = hear(pieces, markup("json_tools"), TOOLS)
        assert heard.text == "Next."
        heard = hear(pieces, markup("json_tools"), TOOLS, whole=False)
        assert heard.text == ""


def test_numbers_that_json_does_not_know():
    answer = '<tool_call>{"name": "get_weather", "arguments": {"days": NaN}}</tool_call>'
    for pieces in splits(answer):
        assert not is_object(hear(pieces, markup("json_tools"), TOOLS).calls[0][1])


def test_a_format_that_reads_calls_into_anything_calls_only_tools_that_exist():
    heard = hear(["<tool_call>I would call it</tool_call>"], markup("glm47"), TOOLS)
    assert heard.said == ("I would call it", "", [], None)


@pytest.mark.parametrize("form", sorted(tool_parsers()))
def test_a_call_without_arguments_may_be_but_a_name(form: str):
    marks = markup(form)
    assert marks.tools is not None
    heard = hear([f"{marks.tools.starts[0]}get_time{marks.tools.end}"], marks, TOOLS)
    assert heard.parsed == [TIME]


# --- calls that a grammar made ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "calls"),
    [
        ('{"name": "get_weather", "arguments": {"city": "Paris"}}', [PARIS]),
        ('[{"name":"get_weather","arguments":{"city":"Paris"}},{"name":"get_time","arguments":{}}]', [PARIS, TIME]),
    ],
)
def test_calls_without_marks(answer: str, calls: list[tuple[str, dict[str, object]]]):
    for pieces in splits(answer):
        heard = hear(pieces, Markup(tools=JSON_CALLS), TOOLS, state=State.CALL, then=State.CALL)
        assert heard.parsed == calls
        assert heard.text == ""
    for behind in (f"<think>\nso\n</think>\n\n{answer}", f"\n{answer}"):
        for pieces in splits(behind):
            marks = Markup(("<think>", "</think>"), JSON_CALLS)
            heard = hear(pieces, marks, TOOLS, then=State.CALL)
            assert heard.parsed == calls
            assert heard.text == ""


def test_long_arguments():
    """150 KB in 40,000 pieces: no piece may cost as much as all that came before."""
    content = json.dumps(CODE * 4000)
    answer = f'<tool_call>{{"name": "write_file", "arguments": {{"path": "a", "content": {content}}}}}</tool_call>'
    pieces = [answer[at : at + 4] for at in range(0, len(answer), 4)]
    assert hear(pieces, markup("json_tools"), TOOLS).parsed[0][1]["content"] == CODE * 4000
