"""Which texts share a step of an encoder, and whose turn it is."""

import random

import numpy as np

from inference.engine.encoder import load
from inference.engine.encoder.batches import DENSE, SMALL, Waiting
from inference.engine.encoder.job import Job, Row, Text
from inference.engine.protocol import Embed
from tests.support.encoder_engine import CLIENT, Engine, spoil
from tests.support.encoders_made import make_embedder


def job_of(user, *lengths):
    job = Job(Embed("x", [], user=user), CLIENT)
    job.rows = [Row(job, index, Text([1] * length)) for index, length in enumerate(lengths)]
    return job


def test_a_step_is_bounded_and_mostly_text():
    draw = random.Random(0)
    waiting = Waiting(512)
    jobs = [job_of(f"u{index % 3}", *(draw.randint(1, 900) for _ in range(20))) for index in range(10)]
    for job in jobs:
        waiting.add(job)
    seen = []
    while len(waiting):
        step = waiting.take()
        lengths = [row.length for row in step]
        padded = len(step) * max(lengths)
        assert lengths == sorted(lengths, reverse=True)
        assert padded <= 512 or len(step) == 1
        assert sum(lengths) >= DENSE * padded or padded <= SMALL
        seen += [(id(row.job), row.index) for row in step]
    assert len(seen) == len(set(seen)) == 200


def test_equal_texts_of_many_requests_share_one_step():
    waiting = Waiting(512)
    for user in range(16):
        waiting.add(job_of(f"u{user}", 32))
    assert len(waiting.take()) == 16 and not waiting.take()


def test_one_at_a_time_is_one_at_a_time(bert):
    for options, reason in (({"deterministic": True}, "--deterministic"), ({"runtime_mode": "simple"}, "simple")):
        engine = Engine(bert, **options)
        engine.submit(Embed("e", ["fox"] * 4))
        assert engine.core.batching == "single" and reason in engine.core.batching_reason
        assert engine.finish() == 4


def test_a_large_request_holds_nobody_up_for_long():
    waiting = Waiting(512)
    waiting.add(job_of("greedy", *[400] * 50))
    waiting.take()
    waiting.take()
    waiting.add(job_of("modest", 10))
    steps = [waiting.take() for _ in range(2)]
    assert any(row.job.request.user == "modest" for step in steps for row in step)


def test_who_was_away_has_saved_nothing_up():
    waiting = Waiting(100)
    waiting.add(job_of("early", *[100] * 20))
    for _ in range(10):
        waiting.take()
    waiting.add(job_of("late", *[100] * 10))
    users = [row.job.request.user for _ in range(10) for row in waiting.take()]
    assert users.count("late") == 5


def test_rows_of_a_request_that_left_wait_no_longer():
    waiting = Waiting(100)
    gone, stays = job_of("a", 10, 20, 30), job_of("a", 15)
    waiting.add(gone)
    waiting.add(stays)
    waiting.remove(gone)
    assert [row.job for row in waiting.take()] == [stays] and not len(waiting)


def test_a_model_that_padding_disturbs_reads_alone(tmp_path):
    encoder = load.load_encoder(str(make_embedder(tmp_path)), "bert", "embedding")
    # Attention takes none of the padding, but none of a number that is none is no number either.
    spoil(encoder, encoder.pad)
    engine = Engine(encoder)
    assert engine.core.batching == "single" and "padding" in engine.core.batching_reason
    engine.submit(Embed("e", ["fox", "The quick brown fox"]))
    assert engine.finish() == 2
    assert np.isfinite(engine.vectors("e")).all()
