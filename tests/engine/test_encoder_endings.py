"""How an encoder's requests end: who fails and who doesn't, who is refused or cancelled, and what all are billed."""

import numpy as np
import pytest

from inference.engine.encoder import load
from inference.engine.encoder.job import Text
from inference.engine.intake import CancelRequest, ReconcileRequest
from inference.engine.protocol import Embed, Failed
from tests.support.encoder_engine import CLIENT, ROUNDING, TEXTS, Engine, spoil
from tests.support.encoders_made import make_embedder

GOOD = [[10, 11, 12], [13, 14]]


def only_the_bad_one_fails(engine, token, *, sound):
    """Six good requests and one with this token, in one step: how the latter ended. sound: what a model without faults
    makes of the others."""
    for index in range(6):
        engine.submit(Embed(f"good {index}", GOOD))
    engine.submit(Embed("bad", [GOOD[0], [10, token, 12], GOOD[1]]))
    engine.finish()
    events, end = engine.said.pop("bad")
    assert events == [] and isinstance(end, Failed) and "input[1]" in end.message
    assert len(engine.said) == 6
    for id in engine.said:
        assert np.abs(engine.vectors(id) - sound).max() < ROUNDING
    return end


def test_only_those_fail_of_whom_the_model_makes_no_numbers(bert, tmp_path):
    encoder = load.load_encoder(str(make_embedder(tmp_path)), "bert", "embedding")
    token = encoder.vocab - 1
    spoil(encoder, token)
    sound = bert.compute([Text(ids) for ids in GOOD])
    assert only_the_bad_one_fails(Engine(encoder), token, sound=sound).code == "engine_error"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("chosen to fail"), "engine_error"),
        (RuntimeError("[malloc] Unable to allocate"), "server_is_overloaded"),
    ],
)
def test_only_those_fail_on_whom_the_model_does(bert, monkeypatch, error, code):
    token, forward = bert.vocab - 1, bert.forward
    sound = bert.compute([Text(ids) for ids in GOOD])

    def broken(ids, mask, types):
        if (ids == token).any().item():
            raise error
        return forward(ids, mask, types)

    # A sound model raises on no text, and memory runs out on a machine, not on a token.
    monkeypatch.setattr(bert, "forward", broken)
    assert only_the_bad_one_fails(Engine(bert), token, sound=sound).code == code


def test_a_cancelled_request_ends_with_what_was_computed_for_it(bert):
    engine = Engine(bert, prefill_chunk=64)
    job = engine.submit(Embed("long", [[7] * 60] * 5))
    other = engine.submit(Embed("other", ["fox"], user="someone else"))
    engine.tick()
    engine.tick()
    done = len(job.results)
    assert 0 < done < 5
    engine.core.submit(CancelRequest(b"stranger", "long"))
    engine.core.submit(CancelRequest(CLIENT, "long"))
    engine.finish()
    events, end = engine.said["long"]
    assert (events, end.reason) == ([], "cancelled")
    assert end.tally.prompt_tokens == 60 * done and end.tally.engine_seconds > 0
    assert engine.said["other"][1].tally.prompt_tokens == other.prompt_tokens
    assert len(engine.core._waiting) == 0


def test_a_restarted_client_ends_what_it_left(bert):
    engine = Engine(bert)
    engine.submit(Embed("left", ["fox"]))
    engine.core.submit(ReconcileRequest(CLIENT, ["left", "unknown"]))
    engine.finish()
    assert engine.said["left"][1].reason == "cancelled" and engine.recalled == ["left", "unknown"]


def test_the_time_limit_is_the_models(bert):
    engine = Engine(bert, timeout=1.0)
    job = engine.submit(Embed("late", ["fox"]))
    job.deadline = job.received
    engine.finish()
    assert engine.said["late"][1].code == "timeout"


def test_a_full_queue_refuses(bert):
    engine = Engine(bert, max_waiting=1)
    for index in range(3):
        engine.submit(Embed(f"{index}", ["fox"]))
    engine.finish()
    assert [isinstance(engine.said[f"{index}"][1], Failed) for index in range(3)] == [False, False, True]
    assert engine.said["2"][1].code == "server_is_overloaded"


def test_the_bills_add_up_to_the_steps_time(bert):
    engine = Engine(bert)
    jobs = [engine.submit(Embed(f"{index}", TEXTS[: index + 1])) for index in range(5)]
    engine.finish()
    stats = engine.core.stats()
    assert sum(engine.said[job.id][1].tally.engine_seconds for job in jobs) == pytest.approx(stats.busy_seconds)
    assert stats.prefill_tokens == sum(job.prompt_tokens for job in jobs)
    assert (stats.running, stats.waiting, stats.requests) == (0, 0, 5)
