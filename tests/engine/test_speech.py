"""Thoughts, stop strings and white space come out the same however the tokens fall, and no mark ever shows."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engine.text.markup import FRAMES, THOUGHTS, Markup, tool_parsers
from inference.engine.text.speech import State
from tests.engine.listening import hear, markup, splits
from tests.engine.recorded_calls import TOOLS

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
CALLS = [("get_weather", '{"city": "Paris"}')]

BETWEEN = {
    "harmony": "<|start|>assistant<|channel|>final<|message|>",
    "kimi_k3": "<|open|>response<|sep|>",
    "cohere": "<|START_RESPONSE|>",
    "muse": "<|start|>assistant to=user<|message|>",
}
"""What the formats that enclose their answers write between thought and answer."""
BEHIND = {
    "harmony": "<|end|>",
    "kimi_k3": "<|close|>response<|sep|><|close|>message<|sep|>",
    "cohere": "<|END_RESPONSE|>",
    "muse": "<|eot|>",
}

every_thought = pytest.mark.parametrize("thoughts", THOUGHTS)


def marks_of(thoughts: str) -> tuple[Markup, str, str]:
    """With tools; and what begins and ends a thought."""
    return markup("json_tools", thoughts), *THOUGHTS[thoughts]


def heard(answer: str, marks: Markup, **options: object) -> tuple[str, str, list[tuple[str, str]], str | None]:
    """What every split of it makes known."""
    whole = hear([answer], marks, TOOLS, **options).said
    for pieces in splits(answer):
        assert hear(pieces, marks, TOOLS, **options).said == whole, pieces
    return whole


@every_thought
@pytest.mark.parametrize("begun", [False, True], ids=["", "by-the-prompt"])
def test_a_thought_then_an_answer(thoughts: str, begun: bool):
    marks, start, end = marks_of(thoughts)
    between, behind = BETWEEN.get(thoughts, ""), BEHIND.get(thoughts, "")
    answer = f"{'' if begun else start}\nTwo and\n\ntwo: <4.\n{end}\n\n{between}It is 4.\n\n < 5{behind}"
    state = State.THOUGHT if begun else State.TEXT
    assert heard(answer, marks, state=state) == ("It is 4.\n\n < 5", "Two and\n\ntwo: <4.", [], None)


@every_thought
def test_a_thought_that_begins_twice_has_one_beginning(thoughts: str):
    marks, start, end = marks_of(thoughts)
    assert heard(f"{start}\nHm.{end}Yes.", marks, state=State.THOUGHT) == ("Yes.", "Hm.", [], None)


@every_thought
def test_no_thought(thoughts: str):
    marks, *_ = marks_of(thoughts)
    answer = "\n It is 4 < 5 [1] <b>]<]. \n\n"
    assert heard(answer, marks) == (answer, "", [], None)


@every_thought
def test_an_answer_with_frames_but_no_thought(thoughts: str):
    marks, *_ = marks_of(thoughts)
    assert heard(f"{BETWEEN.get(thoughts, '')}Yes.{BEHIND.get(thoughts, '')}", marks) == ("Yes.", "", [], None)


@every_thought
def test_a_thought_that_is_cut_off(thoughts: str):
    marks, start, end = marks_of(thoughts)
    answer = f"{start}Two and two, so{end}"
    for length in range(len(start), len(answer)):
        text, reasoning, calls, _ = hear([answer[:length]], marks, TOOLS, whole=False).said
        assert (text, calls) == ("", [])
        assert "Two and two, so".startswith(reasoning), "half of the end's mark is no thought"
    assert heard(f"{start}Two and two ", marks, whole=False) == ("", "Two and two", [], None)


@every_thought
def test_a_thought_then_a_call(thoughts: str):
    marks, start, end = marks_of(thoughts)
    assert heard(f"{start}Look.{end}\n\n{CALL}", marks) == ("", "Look.", CALLS, None)
    assert heard(f"{start}Look.{end}\nSo:\n{CALL}\n", marks) == ("So:", "Look.", CALLS, None)


@every_thought
def test_an_empty_thought(thoughts: str):
    marks, start, end = marks_of(thoughts)
    assert heard(f"{start}\n\n{end}\n\nYes.", marks) == ("Yes.", "", [], None)
    assert heard(f"{start}{end}{CALL}", marks) == ("", "", CALLS, None)
    assert heard(f"{end}\n\nYes.", marks, state=State.THOUGHT) == ("Yes.", "", [], None)


@pytest.mark.parametrize("thoughts", FRAMES)
def test_a_call_in_special_tokens_ends_a_thought(thoughts: str):
    """These formats write nothing but special tokens as marks: what looks like a call is one."""
    marks, start, _ = marks_of(thoughts)
    assert heard(f"{start}Look.{CALL}", marks) == ("", "Look.", CALLS, None)


def test_elsewhere_a_thought_may_be_about_calls():
    marks = markup("json_tools", "think")
    assert heard(f"<think>A {CALL}?</think>No.", marks) == ("No.", f"A {CALL}?", [], None)


def test_an_answer_goes_back_to_thinking():
    answer = f"<think>a</think>\nb\n<think>\nc</think>{CALL}<think>d</think>e"
    assert heard(answer, markup("json_tools", "think")) == ("be", "acd", CALLS, None)


def test_without_tools_calls_are_text():
    for pieces in splits(f"So:\n{CALL}\n"):
        assert hear(pieces, markup("json_tools", "think"), None).said == (f"So:\n{CALL}\n", "", [], None)


@given(text=st.text(alphabet=" \n\tab<t[|", max_size=30))
@settings(deadline=None)
def test_a_plain_answer_keeps_its_white_space(text: str):
    for pieces in splits(text):
        assert hear(pieces, markup("json_tools", "think"), TOOLS).text == text


def test_white_space_around_marks_is_theirs():
    answer = f"  a \n\n{CALL}\n \n b \n<think>\n c \n</think>\n d \n"
    assert heard(answer, markup("json_tools", "think")) == ("  abd \n", "c", CALLS, None)


def test_a_word_that_only_begins_like_a_mark_is_shown():
    marks = markup("json_tools", "think")
    assert heard("a <tool_cal", marks) == ("a <tool_cal", "", [], None)
    assert heard("a <tool_cal", marks, whole=False) == ("a <tool_cal", "", [], None)
    assert heard("a <tool_<think>b</think>", marks) == ("a <tool_", "b", [], None)


# --- stop strings -----------------------------------------------------------------------------------------------------


def test_a_stop_string_ends_the_text():
    marks = markup("json_tools", "think")
    assert heard(f"one STOP two {CALL}<think>hm</think>", marks, stops=["STOP"]) == ("one ", "", [], "STOP")


def test_nothing_of_calls_and_thoughts_stops_an_answer():
    marks = markup("json_tools", "think")
    answer = f"<think>STOP Paris</think>a{CALL}b STOP c"
    assert heard(answer, marks, stops=["STOP", "Paris", "arguments"]) == ("ab ", "STOP Paris", CALLS, "STOP")


def test_marks_are_no_text_that_stops():
    marks = markup("json_tools", "think")
    stops = ["<think>", "</tool_call>", "\n\n"]
    assert heard(f"<think>a</think>\n\nb\n\n{CALL}", marks, stops=stops) == ("b", "a", CALLS, None)


def test_half_of_a_stop_string_is_shown_in_the_end():
    assert heard(f"one ST{CALL}", markup("json_tools"), stops=["STOP"]) == ("one ST", "", CALLS, None)


def test_a_body_that_is_no_call_may_stop():
    assert heard("<tool_call>a STOP b</tool_call>c", markup("json_tools"), stops=["STOP"]) == ("a ", "", [], "STOP")


# --- anything ---------------------------------------------------------------------------------------------------------


def _answers(form: str, thoughts: str) -> st.SearchStrategy[list[str]]:
    """Marks, scraps of calls and text, in any order. Text has nothing that a mark may be put together from."""
    marks = markup(form, thoughts)
    assert marks.tools is not None
    scraps = [
        *marks.tools.starts,
        marks.tools.end,
        *(marks.thought or ()),
        *marks.frames,
        '{"name": "get_weather", "arguments": {"city": "Paris"}}',
        '{"name": "get_weather", "arguments": {"city": "Pa',
        '"name": "',
        '", "arguments": ',
        "get_time",
        "null",
        "{}}])",
        " \n",
    ]
    return st.lists(st.one_of(st.sampled_from(scraps), st.text(alphabet='ab {}"1,:\\\n', max_size=6)), max_size=14)


@pytest.mark.parametrize("form", sorted(tool_parsers()))
@pytest.mark.parametrize("thoughts", ["think", "harmony", "kimi_k3"])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_is_said_no_mark_shows(form: str, thoughts: str, data: st.DataObject):
    scraps = data.draw(_answers(form, thoughts))
    whole, state = data.draw(st.booleans()), data.draw(st.sampled_from([State.TEXT, State.THOUGHT]))
    marks = markup(form, thoughts)
    assert marks.tools is not None and marks.thought is not None
    runs = [
        hear(pieces, marks, TOOLS, whole=whole, state=state)
        for pieces in (["".join(scraps)], scraps, list("".join(scraps)))
    ]
    assert runs[0].said == runs[1].said == runs[2].said
    for mark in (*marks.thought, *marks.tools.starts, marks.tools.end, *marks.frames):
        if mark:
            assert mark not in runs[0].text
    for name, _ in runs[0].calls:
        assert name.strip()
