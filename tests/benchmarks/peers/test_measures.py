"""The figures are what they say: streams taken apart, gaps, rates, verdicts."""

import json

import pytest

from tests.benchmarks.peers.client import Stream, take_apart
from tests.benchmarks.peers.figures import Comparison, Result, Run, contenders
from tests.benchmarks.peers.report import markdown
from tests.benchmarks.peers.scenarios import Invalid, Metric, decode_rate, longest_gap, table
from tests.benchmarks.peers.servers import OURS

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS = [
    {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
    {"choices": [{"delta": {"content": "one"}}]},
    {"choices": [{"delta": {"content": " two three"}}]},
    {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}},
]
LINES = [*(f"data: {json.dumps(event)}\n\n".encode() for event in EVENTS), b"data: [DONE]\n\n"]


def chunked(parts: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_stream_is_the_same_however_it_is_torn(size: int):
    data = HEAD + chunked(LINES)
    stream = Stream()
    take_apart([(start / 10, data[start : start + size]) for start in range(0, len(data), size)], stream)
    assert (stream.words, stream.completion_tokens, stream.prompt_tokens) == ([1, 2], 3, 5)
    assert stream.whole and not stream.error


def test_a_piece_has_the_time_of_the_read_that_ended_it():
    stream = Stream()
    torn = LINES[1][:9], LINES[1][9:]
    take_apart([(0.0, b"HTTP/1.0 200 OK\r\n\r\n"), (1.0, torn[0]), (2.0, torn[1]), (3.0, LINES[2])], stream)
    assert stream.times == [2.0, 3.0]


def test_an_error_is_told():
    stream = Stream()
    take_apart([(0.0, b'HTTP/1.1 503 Busy\r\n\r\n{"error": "full"}')], stream)
    assert "503" in stream.error and "full" in stream.error and not stream.whole


def test_a_gap_may_reach_into_and_out_of_the_time_that_is_looked_at():
    assert longest_gap([1.0, 1.5, 6.0], 2.0, 7.0) == 4.5
    assert longest_gap([1.0, 2.5, 3.0], 2.0, 9.0) == 6.0
    assert longest_gap([1.0, 2.5, 3.0, 30.0], 2.0, 4.0) == 1.5


def test_a_first_piece_of_many_tokens_is_not_decoded_fast():
    assert decode_rate(Stream(times=[1.0, 2.0, 3.0], words=[1, 1, 1]), 3) == 1.0
    assert decode_rate(Stream(times=[1.0, 2.0], words=[9, 1]), 10) == 1.0
    with pytest.raises(Invalid):
        decode_rate(Stream(times=[1.0], words=[3]), 3)


def verdict(unit: str, target: float, peer: float, ours: float) -> str:
    return Comparison(Metric("m", "m", unit, target), {"peer": peer, OURS: ours}).verdict


def test_verdicts():
    assert verdict("tok/s", 1.0, 100, 98) == "met (equal)"
    assert verdict("tok/s", 1.0, 100, 96) == "missed: 4% below"
    assert verdict("tok/s", 1.3, 100, 128) == "missed: 2% below"
    assert verdict("s", 0.2, 10, 2) == "met"
    assert verdict("s", 0.2, 10, 4) == "missed: 2.00 × the time allowed"


def test_the_best_mode_counts_and_failed_rounds_do_not():
    metric = Metric("m", "m", "s", 0.5)
    run = Run({}, [Result("m", "a", 0, {"m": 3.0}), Result("m", "a", 1, {"m": 1.0}), Result("m", "a", 2, error="gone")])
    assert run.figure(metric, "a") == 2.0
    compared = Comparison(metric, {"a": 2.0, "a, tuned": 1.5, "b": None, OURS: 0.6})
    assert compared.best == ("a, tuned", 1.5) and compared.best_of("a") == 1.5 and compared.best_of("b") is None
    assert compared.ratio == pytest.approx(0.4)


def test_a_table_is_one():
    assert markdown(["a", "b"], [["1", "2"]]).splitlines() == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]


def test_contenders_are_close_to_the_best_somewhere():
    alone, shared = table()[0], table()[2]
    [rate], [delay, *_] = alone.metrics, shared.metrics
    assert (rate.lower_is_better, delay.lower_is_better) == (False, True)
    figures = {"a": (100, 9.0), "b": (81, 9.0), "c": (79, 5.0), "d": (79, 6.2), "e": (79, 6.3), OURS: (900, 0.1)}
    results = [Result(alone.name, server, 0, {rate.name: fast}) for server, (fast, _) in figures.items()]
    results += [Result(shared.name, server, 0, {delay.name: slow}) for server, (_, slow) in figures.items()]
    assert contenders(Run({}, results), [alone, shared]) == {"a", "b", "c", "d"}
    assert Run({}, results).rounds == 1 and Run({}).rounds == 0
