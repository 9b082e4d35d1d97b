"""An answer that goes round in circles is noticed; long and honest repetition is not.

The built-in model's tokenizer is the hardest case for the second: 768 tokens, hardly more than one character each, so
that its rows of dashes and spaces are as long as they can get.
"""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from inference.engine.monitors.repetition import CHECK_TOKENS, LIMITS, RepetitionDetector, RepetitionMonitor
from inference.sources import BUILTIN_FOLDER

TOKENIZER = PreTrainedTokenizerFast(tokenizer_file=str(BUILTIN_FOLDER / "atelier-tiny" / "tokenizer.json"))

CODE = "".join(
    f'    parser.add_argument("--option-{number}", type=int, default={number * 10}, help="option number {number}")\n'
    for number in range(60)
)
SWITCH = "".join(f"        case {number}:\n            return {number};\n" for number in range(120))
TABLE = "| day | morning | afternoon |\n| --- | --- | --- |\n" + "|  |  |  |\n" * 31
WIDE_RULES = ("-" * 120 + "\n" + "=" * 120 + "\n") * 4
ZEROS = "[" + ", ".join(["0"] * 200) + "]"
ITEMS = "[" + ",\n  ".join(['{"name": null, "value": 0}'] * 20) + "]"
SPACES = "column" + " " * 300 + "column" + "\n" * 40
SONG = "".join(
    f"{verse}\n" + "Row, row, row your boat, gently down the stream,\nmerrily, merrily, merrily, merrily, " * 2 + "\n\n"
    for verse in ("When the morning breaks", "When the river bends", "When the evening comes", "When the stars are out")
)
CHORUS = "na na na nananana, hey Jude\n" * 18
NUMBERED = "".join(f"{number}. I must not chat in class.\n" for number in range(1, 101))
LINES = "I must not chat in class.\n" * 20
HEX = "".join(f"0x{number % 16:02x}, " + ("\n" if number % 12 == 11 else "") for number in range(40, 440))
CSV = "date,open,close\n" + "".join(f"2026-01-{day:02d},100.0,100.0\n" for day in range(1, 32)) * 3

HONEST = {
    "code with lines alike": CODE,
    "a long switch": SWITCH,
    "an empty table": TABLE,
    "rules": WIDE_RULES,
    "two hundred zeros": ZEROS,
    "equal items": ITEMS,
    "spaces and empty lines": SPACES,
    "a song": SONG,
    "a chorus": CHORUS,
    "a numbered list": NUMBERED,
    "twenty lines as asked": LINES,
    "hexadecimal": HEX,
    "rows of data": CSV,
}

LOOPS = {
    "one token": "!",
    "a word": " the",
    "a sentence": "I am sorry, but I can not help with that. ",
    "a list": "- Drink water.\n- Sleep well.\n- Eat fruit.\n",
    "a paragraph": "The sea was calm that day and the gulls were crying over the pier, as they always did. " * 2,
}


def tokens_of(text: str) -> list[int]:
    return TOKENIZER.encode(text, add_special_tokens=False)


def stopped_at(tokens: list[int], policy: str) -> tuple[int, str] | None:
    """How many tokens were taken before the reason came, and the reason."""
    detector = RepetitionDetector(policy)
    for count, token in enumerate(tokens, 1):
        if reason := detector.push(token):
            return count, reason
    return None


@pytest.mark.parametrize("name", HONEST)
def test_honest_text_is_let_through(name):
    assert stopped_at(tokens_of(HONEST[name]), "safe") is None


def test_honest_text_is_let_through_after_more_of_it():
    """One after another, too: what ends in one text does not add up with the next."""
    assert stopped_at(tokens_of("\n\n".join([*HONEST.values(), *HONEST.values()])), "safe") is None


@pytest.mark.parametrize(
    "name", ["code with lines alike", "a long switch", "a song", "a numbered list", "rows of data"]
)
def test_strict_still_lets_through_what_changes(name):
    assert stopped_at(tokens_of(HONEST[name]), "strict") is None


@pytest.mark.parametrize("policy", ["safe", "strict"])
@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_is_noticed_soon_after_it_is_one(name, policy):
    before, pattern = tokens_of(CODE), tokens_of(LOOPS[name])
    needed = LIMITS[policy].needed(len(pattern))
    found = stopped_at(before + pattern * (needed // len(pattern) + 40), policy)
    assert found is not None
    count, reason = found
    # A few tokens of the text before may happen to belong to the pattern.
    assert len(before) + needed - len(pattern) <= count <= len(before) + needed + CHECK_TOKENS
    assert reason == ("single_token_run" if len(pattern) == 1 else f"pattern_loop_len_{len(pattern)}")


def test_strict_is_sooner():
    loop = tokens_of(LOOPS["a sentence"]) * 100
    assert stopped_at(loop, "strict")[0] < stopped_at(loop, "safe")[0]


def test_off_is_off():
    assert stopped_at([7] * 100_000, "off") is None


def test_a_loop_longer_than_the_longest_pattern_is_not_one():
    pattern = list(range(300))
    assert stopped_at(pattern * 50, "safe") is None


def test_a_pattern_that_repeats_within_itself_has_its_own_length():
    """u a u a u b u b: every part of it occurs nearer than one period ago."""
    u = [1, 2, 3, 4, 5, 6, 7, 8, 9]
    pattern = [*u, 100, *u, 100, *u, 200, *u, 200]
    assert stopped_at(pattern * 60, "safe")[1] == f"pattern_loop_len_{len(pattern)}"


def test_one_other_token_starts_it_all_over():
    detector = RepetitionDetector("safe")
    for _ in range(20):
        assert not any(detector.push(5) for _ in range(LIMITS["safe"].tokens - CHECK_TOKENS))
        assert detector.push(6) is None


def test_the_largest_token_ids():
    """Larger than any vocabulary, and among them those that as characters would be surrogates."""
    assert stopped_at([0xD800, 0xDFFF, 1_000_000] * 500, "safe")[1] == "pattern_loop_len_3"


def repeats(tokens: list[int], policy: str) -> int | None:
    """As `Limits` says, with nothing clever."""
    limits = LIMITS[policy]
    for period in range(1, limits.longest + 1):
        tail = tokens[-limits.needed(period) :]
        if len(tail) == limits.needed(period) and tail[period:] == tail[:-period]:
            return period
    return None


@given(st.lists(st.integers(0, 2), min_size=1, max_size=12), st.lists(st.integers(0, 2), max_size=40), st.data())
def test_it_finds_what_a_plain_search_finds(pattern, before, data):
    """Few kinds of tokens, so that patterns within patterns are the rule."""
    wrong = data.draw(st.integers(0, 400))
    tokens = [*before, *(pattern * 40)][:400]
    if wrong < len(tokens) and data.draw(st.booleans()):
        tokens[wrong] = 3
    expected = None
    for count in range(CHECK_TOKENS, len(tokens) + 1, CHECK_TOKENS):
        if period := repeats(tokens[:count], "strict"):
            expected = count, "single_token_run" if period == 1 else f"pattern_loop_len_{period}"
            break
    assert stopped_at(tokens, "strict") == expected


def test_the_engine_counts_what_was_stopped():
    monitor = RepetitionMonitor("safe")
    for token in (1, 2):
        detector = monitor.detector()
        reasons = [detector.push(token) for _ in range(3000)]
        assert [reason for reason in reasons if reason] == ["single_token_run"], "said once"
    lax = monitor.detector("off")
    assert not any(lax.push(3) for _ in range(1040))
    report = monitor.report()
    assert (report.policy, report.stopped) == ("safe", {"single_token_run": 2})


@pytest.mark.parametrize(
    "token", [lambda i: random.Random(i).randrange(8000), lambda i: 0 if i % 1000 else 1], ids=["text", "nearly a loop"]
)
def test_what_it_keeps_is_bounded(token):
    """A hundred thousand tokens, whose number must not matter: the tail stays as short as the longest loop."""
    detector = RepetitionDetector("safe")
    for i in range(100_000):
        assert detector.push(token(i)) is None
    limits = LIMITS["safe"]
    assert len(detector._tail) + len(detector._fresh) <= limits.times * limits.longest + limits.longest + CHECK_TOKENS
