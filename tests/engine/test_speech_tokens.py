"""Marks that are special tokens, in real tokenizers: they are read where they mean something, and no text else."""

import pytest
from transformers import PreTrainedTokenizerFast

from inference.engine.text.detokenizer import REPLACEMENT, Detokenizer
from inference.engine.text.markup import FRAMES, THOUGHTS, Markup, markup_of
from inference.engine.text.speech import Speech, State
from inference.engine.text.stops import StopMatcher
from tests.engine.listening import Heard
from tests.engine.recorded_calls import TOOLS
from tests.support.tokenizers_made import byte_fallback, byte_level, metaspace

MARKS = ["<tool_call>", "</tool_call>", "<think>", "</think>", "[ARGS]"]
TEMPLATE = '<think></think><tool_call>{"name": {{ tool_call.name }}}</tool_call>'
KINDS = {"byte-level": byte_level, "byte-fallback": byte_fallback, "metaspace": metaspace}


@pytest.fixture(params=["byte-level", "byte-fallback"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    return with_marks(KINDS[request.param](), MARKS, TEMPLATE)


def with_marks(tokenizer: PreTrainedTokenizerFast, marks: list[str], template: str) -> PreTrainedTokenizerFast:
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.chat_template = template
    return tokenizer


def tokens(tokenizer: PreTrainedTokenizerFast, *parts: str) -> list[int]:
    """Of each part alone, so that no token spans two. Some tokenizers begin each with a space."""
    return [token for part in parts for token in tokenizer.encode(part, add_special_tokens=False)]


def listen(
    tokenizer: PreTrainedTokenizerFast,
    ids: list[int],
    markup: Markup | None = None,
    *,
    rust: bool = True,
    whole: bool = True,
    tools: bool = True,
) -> Heard:
    markup = markup or markup_of(tokenizer)
    detokenizer = Detokenizer(tokenizer, markup.specials)
    if not rust:
        # The path of tokenizers that are not Rust's.
        detokenizer._rust = None
    speech = Speech(detokenizer, StopMatcher([]), markup, tools=TOOLS if tools else None)
    heard = Heard()
    for said in (*(speech.push(token) for token in ids), speech.flush(whole=whole)):
        heard.text += said.text
        heard.reasoning += said.reasoning
        for call in said.calls:
            if call.name is not None:
                heard.calls.append((call.name, ""))
            heard.calls[-1] = (heard.calls[-1][0], heard.calls[-1][1] + call.arguments)
    return heard


@pytest.mark.parametrize("rust", [True, False], ids=["rust", "generic"])
def test_an_answer_with_all_of_it(tokenizer: PreTrainedTokenizerFast, rust: bool):
    call = '{"name": "write_file", "arguments": {"path": "🦄", "content": " ça va, 世"}}'
    ids = tokens(
        tokenizer, "<think>", "grüß 🦄", "</think>", "So 🚀", "<tool_call>", call, "</tool_call>", "schöne 👩‍🚀"
    )
    heard = listen(tokenizer, ids, rust=rust)
    assert heard.said == (
        "So 🚀schöne 👩‍🚀",
        "grüß 🦄",
        [("write_file", '{"path": "🦄", "content": " ça va, 世"}')],
        None,
    )


@pytest.mark.parametrize("rust", [True, False], ids=["rust", "generic"])
def test_a_character_that_a_mark_cuts(tokenizer: PreTrainedTokenizerFast, rust: bool):
    """It never will be whole; what follows the mark is not harmed."""
    unicorn = tokens(tokenizer, "a🦄")
    assert len(unicorn) > 2
    ids = [*unicorn[:-1], *tokens(tokenizer, "<think>"), *unicorn, *tokens(tokenizer, "</think>"), *unicorn]
    heard = listen(tokenizer, ids, rust=rust)
    assert heard.reasoning == "a🦄"
    assert heard.text.startswith("a" + REPLACEMENT)
    assert heard.text.endswith("a🦄")


@pytest.mark.parametrize("rust", [True, False], ids=["rust", "generic"])
@pytest.mark.parametrize("kind", KINDS)
def test_words_behind_a_mark_keep_their_space(kind: str, rust: bool):
    """The first word of an answer loses it in some tokenizers; none but the first may."""
    tokenizer = with_marks(KINDS[kind](), MARKS, TEMPLATE)
    markup = markup_of(tokenizer)
    detokenizer = Detokenizer(tokenizer, markup.specials)
    if not rust:
        detokenizer._rust = None
    words = tokens(tokenizer, "The lazy dog")
    mark = tokens(tokenizer, "</think>")[0]
    pieces = [detokenizer.step(token, verbatim=True) for token in (*words, mark, *words)]
    text = "".join(pieces) + detokenizer.flush()
    before, behind = text.split("</think>")
    assert before + behind == tokenizer.decode([*words, *words], clean_up_tokenization_spaces=False)


def test_special_tokens_that_are_no_marks_are_text_in_calls_alone(tokenizer: PreTrainedTokenizerFast):
    body = ('{"name": "write_file", "arguments": {"path": "', "[ARGS]", '"}}')
    heard = listen(tokenizer, tokens(tokenizer, "a", "[ARGS]", "b", "<tool_call>", *body, "</tool_call>"))
    assert heard.text.replace(" ", "") == "ab"
    assert [(name, arguments.replace(" ", "")) for name, arguments in heard.calls] == [
        ("write_file", '{"path":"[ARGS]"}')
    ]


def test_marks_that_are_tokens_never_show(tokenizer: PreTrainedTokenizerFast):
    ids = tokens(tokenizer, "a", "</tool_call>", "b", "<tool_call>", "no [ARGS] call", "</tool_call>", "</think>", "c")
    assert listen(tokenizer, ids).text.replace(" ", "") == "abnocallc"
    ids = tokens(tokenizer, "a", "<tool_call>", "b")
    assert listen(tokenizer, ids, tools=False).text.replace(" ", "") == "ab"


def test_harmonys_half_headers_are_no_text():
    marks = ["<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|constrain|>", "<|call|>"]
    tokenizer = with_marks(byte_level(), marks, "<|channel|>commentary <|message|> <|call|>")
    answer = ("<|channel|>", "analysis", "<|message|>", "again 🦄", "<|end|>", "<|start|>", "assistant", "<|channel|>")
    heard = listen(tokenizer, tokens(tokenizer, *answer, "final"), whole=False)
    assert (heard.text, heard.reasoning) == ("", "again 🦄")
    heard = listen(tokenizer, tokens(tokenizer, *answer, "final", " ", "<|constrain|>", "json", "<|message|>", "{}"))
    assert (heard.text, heard.reasoning) == ("{}", "again 🦄")
    call = ("commentary to=functions.get_weather ", "<|constrain|>", "json", "<|message|>", '{"city": "世"}')
    heard = listen(tokenizer, tokens(tokenizer, *answer, *call))
    assert heard.calls == [("get_weather", '{"city": "世"}')]
    assert heard.text == ""


def test_a_call_in_a_special_token_ends_a_thought():
    tokenizer = with_marks(byte_level(), [*MARKS], TEMPLATE)
    markup = markup_of(tokenizer)
    assert (markup.thought, markup.frames) == (THOUGHTS["think"], FRAMES.get("think", ()))
    call = '{"name": "get_time"}'
    heard = listen(tokenizer, tokens(tokenizer, "<think>", "the dog", "<tool_call>", call, "</tool_call>"))
    assert heard.said == ("", "the dog", [("get_time", "{}")], None)


def test_thinking_is_told_token_by_token(tokenizer: PreTrainedTokenizerFast):
    """The engine counts a thought's tokens by it."""
    markup = markup_of(tokenizer)
    speech = Speech(Detokenizer(tokenizer, markup.specials), StopMatcher([]), markup, state=State.THOUGHT)
    ids = tokens(tokenizer, "again", "</think>", "dog")
    told = []
    for token in ids:
        speech.push(token)
        told.append(speech.thinking)
    end = ids.index(tokens(tokenizer, "</think>")[0])
    assert told == [place < end for place in range(len(ids))]
