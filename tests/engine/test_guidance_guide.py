"""A guide follows its row from thought to answer, one token after the other."""

import numpy as np
import pytest

from inference.engine.guidance.guide import Guide, Thought
from inference.engine.protocol import Format
from tests.support.models_made import trained

THINK = Thought(start=(762,), end=(763,), closing=(198, 763, 421))
LONG = Thought(start=(300, 301, 302), end=(310,), closing=(310, 320, 321))
"""Of several tokens, as where an answer has an opening, too."""
END = 761


@pytest.fixture(scope="module")
def model():
    return trained()


@pytest.fixture
def matcher(model):
    return model.grammars.matcher(model.grammars.of_format(Format("regex", "[ab]{3}")))


@pytest.fixture
def a(model):
    [token] = model.tokenizer.encode("a", add_special_tokens=False)
    return token


def allowed(guide: Guide, model) -> set[int]:
    """As the masks ask."""
    words = np.full(-(-model.vocab // 32), -1, np.int32)
    if guide.asks is not None:
        words[:] = np.frombuffer(guide.asks.compute_bitmask(), np.int32)[: len(words)]
    guide.adjust(words)
    return {int(token) for token in np.unpackbits(words.view(np.uint8), bitorder="little").nonzero()[0]}


def say(guide: Guide, *tokens: int) -> None:
    for token in tokens:
        guide.consume(token)


def test_without_a_thought_the_grammar_rules_from_the_first_token(model, matcher, a):
    guide = Guide(matcher, None, begun=False)
    assert guide.acts and a in allowed(guide, model) and len(allowed(guide, model)) < 10
    say(guide, a, a, a)
    assert allowed(guide, model) == model.end_tokens
    say(guide, END)
    assert not guide.failed


def test_a_thought_or_the_answer_may_come_first(model, matcher, a):
    guide = Guide(matcher, THINK, begun=False, ends=model.end_tokens)
    assert {a, 762} < allowed(guide, model) and 763 not in allowed(guide, model)
    say(guide, a)
    assert 762 not in allowed(guide, model) and a in allowed(guide, model)
    assert matcher.stop_reason() == "NotStopped"


@pytest.mark.parametrize("begun", [False, True])
def test_a_thought_is_free_but_for_the_end_of_the_answer(model, matcher, a, begun):
    guide = Guide(matcher, THINK, begun=begun, ends=model.end_tokens)
    if not begun:
        say(guide, 762)
    say(guide, 5, 6, a, 421)
    assert allowed(guide, model) >= set(range(model.vocab)) - model.end_tokens
    assert not allowed(guide, model) & model.end_tokens
    # Its end, and what leads from there to the answer.
    say(guide, 763)
    assert allowed(guide, model) == {421}
    say(guide, 421)
    assert a in allowed(guide, model) and 421 not in allowed(guide, model)
    say(guide, a, a, a)
    assert allowed(guide, model) == model.end_tokens and not guide.failed


@pytest.mark.parametrize("budget", [0, 1, 3])
def test_a_thought_is_closed_when_its_budget_is_used_up(model, matcher, a, budget):
    guide = Guide(matcher, Thought(THINK.start, THINK.end, THINK.closing, budget), begun=True)
    for _ in range(budget):
        assert len(allowed(guide, model)) > 700
        say(guide, a)
    for token in THINK.closing:
        assert allowed(guide, model) == {token}
        say(guide, token)
    assert a in allowed(guide, model) and len(allowed(guide, model)) < 10


def test_a_thought_that_ends_in_time_is_not_closed_again(model, matcher, a):
    guide = Guide(matcher, Thought(THINK.start, THINK.end, THINK.closing, 2), begun=True)
    say(guide, a, 763, 421)
    assert a in allowed(guide, model) and len(allowed(guide, model)) < 10


def test_without_a_grammar_only_the_budget_rules(model, a):
    guide = Guide(None, Thought(THINK.start, THINK.end, THINK.closing, 1), begun=False)
    assert not guide.acts
    say(guide, 762)
    assert not guide.acts
    say(guide, a)
    assert guide.acts and allowed(guide, model) == {198}
    say(guide, 198, 763)
    assert allowed(guide, model) == {421}
    say(guide, 421)
    assert not guide.acts and not guide.failed
    say(guide, a, 762, a, END)
    assert not guide.acts, "a thought comes first or not at all"


def test_without_a_grammar_the_model_finds_the_way_from_its_thought(a):
    guide = Guide(None, Thought(THINK.start, THINK.end, THINK.closing, 9), begun=True)
    say(guide, a, 763)
    assert not guide.acts


def test_what_begins_a_thought_may_be_several_tokens(model, matcher, a):
    guide = Guide(matcher, LONG, begun=False, ends=model.end_tokens)
    assert 300 in allowed(guide, model)
    for token in LONG.start:
        say(guide, token)
        following = LONG.start[LONG.start.index(token) + 1 :]
        assert allowed(guide, model) == {following[0]} if following else len(allowed(guide, model)) > 700
    say(guide, 5, 310)
    for token in (320, 321):
        assert allowed(guide, model) == {token}
        say(guide, token)
    assert a in allowed(guide, model)


def test_the_budget_counts_from_the_end_of_what_begins_it(model, matcher):
    guide = Guide(matcher, Thought(LONG.start, LONG.end, LONG.closing, 0), begun=False)
    say(guide, 300)
    assert allowed(guide, model) == {301}
    say(guide, 301, 302)
    assert allowed(guide, model) == {310}


def test_what_only_begins_like_a_thought_is_an_answer(a):
    guide = Guide(None, Thought(LONG.start, LONG.end, LONG.closing, 0), begun=False)
    say(guide, 300, 301, a, a)
    assert not guide.acts


def test_a_token_that_the_grammar_forbids_is_noticed(model, matcher, a):
    guide = Guide(matcher, None, begun=False)
    say(guide, 5)
    assert guide.failed
