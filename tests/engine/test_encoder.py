"""Embedding models and rerankers, within the test's process: equal to the library, in whatever company a text is."""

import json
import random

import mlx.core as mx
import numpy as np
import pytest

from inference.engine.encoder import load
from inference.engine.encoder.batches import DENSE, SMALL, Waiting
from inference.engine.encoder.job import Job, Row, Text
from inference.engine.encoder.service import assemble
from inference.engine.intake import CancelRequest, ReconcileRequest
from inference.engine.kinds import kind_of
from inference.engine.model import ModelError
from inference.engine.options import make
from inference.engine.output import Conclude, Recall
from inference.engine.prepare import Refusal
from inference.engine.protocol import Embed, Embedded, Failed, Finished, Generate, Ranked, Rerank
from inference.sources import BUILTIN_FOLDER
from tests.support.encoders_made import (
    CONTEXT,
    FAMILIES,
    library_scores,
    library_vectors,
    make_embedder,
    make_reranker,
    write,
)

ROUNDING = 2e-6
"""float32, on numbers below 1."""
TEXTS = [
    "a", "The quick brown fox", "Ça va très bien, merci; ", "x y z " * 15, "again and again", "日本語", " ", "fox fox",
    "def main():\n    return [x * 2 for x in range(10)]\n", "again and again",
]  # fmt: skip
CLIENT = b"client"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("encoders")


class Engine:
    """The real core, driven step by step; what it says is kept in the place of the output thread, which needs
    sockets."""

    def __init__(self, encoder, **options):
        self.core, self.reception = assemble(encoder, make(options), self)
        self.encoder = encoder
        self.said = {}
        self.recalled = []

    def put(self, item):
        match item:
            case Conclude(_, events, end):
                assert end.id not in self.said, "a request ends once"
                self.said[end.id] = (events, end)
            case Recall(_, ids):
                self.recalled += ids

    def submit(self, request):
        [job] = self.reception.prepare(CLIENT, request).work
        self.core.submit(job)
        return job

    def tick(self):
        self.core.submit(None)
        self.core._receive()
        if self.core._live:
            self.core.step()
        return bool(self.core._live)

    def finish(self):
        steps = 1
        while self.tick():
            steps += 1
            assert steps < 1000
        return steps

    def vectors(self, id):
        [answer], end = self.said[id]
        assert isinstance(answer, Embedded) and isinstance(end, Finished) and end.reason == "stop"
        return np.frombuffer(answer.vectors, "<f4").reshape(-1, answer.width)


@pytest.fixture(scope="module")
def bert(folder):
    return load.load_encoder(str(make_embedder(folder / "bert-shared")), "bert", "embedding")


# --- equal to the library ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "pooling"),
    [
        (family, pooling)
        for family in FAMILIES
        for pooling in (None, "cls", "mean", "max", "lasttoken")
        if (family, pooling) != ("qwen3", "cls")  # the first token of a causal model knows nothing of the text
    ],
)
def test_vectors_are_the_librarys_own_however_they_are_batched(folder, family, pooling):
    place = make_embedder(folder / f"{family}-{pooling}", family, pooling=pooling)
    assert kind_of(str(place)) == "embedding"
    encoder = load.load_encoder(str(place), family, "embedding")
    assert encoder.context_length == CONTEXT
    expected = library_vectors(place, TEXTS)
    assert np.std(expected, axis=0).mean() > 0.01, "the texts differ to this model"
    engine = Engine(encoder)
    assert (engine.core.batching, engine.core.batching_reason) == ("batched", "")
    for count in (1, 3, len(TEXTS)):
        engine.submit(Embed(f"first {count}", TEXTS[:count]))
        engine.submit(Embed(f"rest {count}", TEXTS[count:] or TEXTS[:1]))
        engine.finish()
        assert np.abs(engine.vectors(f"first {count}") - expected[:count]).max() < ROUNDING
        if count < len(TEXTS):
            assert np.abs(engine.vectors(f"rest {count}") - expected[count:]).max() < ROUNDING


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_the_librarys_own(folder, family):
    place = make_reranker(folder / f"{family}-reranker", family)
    # What a language model is for, its files need not say.
    assert kind_of(str(place)) == ("text" if family == "qwen3" else "reranker")
    encoder = load.load_encoder(str(place), family, "reranker")
    expected = library_scores(place, "quick fox?", TEXTS[:6])
    assert len(set(expected)) == 6 and all(0 <= score <= 1 for score in expected)
    engine = Engine(encoder)
    engine.submit(Rerank("r", "quick fox?", TEXTS[:6]))
    engine.submit(Rerank("other", "another query", TEXTS[:1]))
    engine.finish()
    [answer], end = engine.said["r"]
    assert isinstance(answer, Ranked)
    assert np.abs(np.array(answer.scores) - expected).max() < ROUNDING
    assert end.tally.prompt_tokens == sum(answer.tokens)
    assert engine.said["other"][0][0].scores != answer.scores[:1]


def test_sixteen_bits_come_out_as_float32(folder):
    place = make_embedder(folder / "half", "qwen3", dtype=mx.bfloat16)
    engine = Engine(load.load_encoder(str(place), "half", "embedding"))
    assert engine.core.batching == "batched"
    engine.submit(Embed("e", TEXTS))
    engine.finish()
    assert np.abs(engine.vectors("e") - library_vectors(place, TEXTS)).max() < 0.02


def test_token_ids_are_taken_as_they_are(bert):
    engine = Engine(bert)
    [text] = bert.tokenize(["The quick brown fox"])
    engine.submit(Embed("e", ["The quick brown fox", text.ids]))
    engine.finish()
    first, second = engine.vectors("e")
    assert np.abs(first - second).max() < ROUNDING
    assert engine.said["e"][0][0].tokens == [len(text.ids)] * 2


def test_fewer_dimensions_are_the_first_ones_at_length_one(bert):
    engine = Engine(bert)
    engine.submit(Embed("whole", TEXTS[:3]))
    engine.submit(Embed("part", TEXTS[:3], dimensions=10))
    engine.finish()
    part = engine.vectors("part")
    assert part.shape == (3, 10)
    assert np.allclose(np.linalg.norm(part, axis=1), 1, atol=1e-6)
    whole = engine.vectors("whole")[:, :10]
    assert np.allclose(part, whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-6)


# --- what can't be read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "dimensions", "code", "param", "says"),
    [
        (["short", "x y z " * 60], None, "context_length_exceeded", "input[1]", f"holds {CONTEXT}"),
        (["x y z " * 60], None, "context_length_exceeded", "input", "Shorten"),
        ([[1, 2], [1, 10**6]], None, "invalid_prompt", "input[1]", "no token 1000000"),
        (["a"], 65, "invalid_prompt", "dimensions", "from 1 to 64"),
        (["a"], 0, "invalid_prompt", "dimensions", "from 1 to 64"),
        (["a", []], None, "invalid_prompt", "input[1]", "empty"),
    ],
)
def test_what_is_refused_is_named(bert, inputs, dimensions, code, param, says):
    engine = Engine(bert)
    with pytest.raises(Refusal) as refused:
        engine.submit(Embed("e", inputs, dimensions=dimensions))
    assert (refused.value.code, refused.value.param) == (code, param)
    assert says in refused.value.message


def test_a_shorter_context_is_the_operators_to_set(bert):
    engine = Engine(bert, effective_context_tokens=8)
    with pytest.raises(Refusal) as refused:
        engine.submit(Embed("e", ["fox", "The quick brown fox jumps over the lazy dog"]))
    assert refused.value.param == "input[1]" and "holds 8" in refused.value.message


def test_a_document_that_is_too_long_is_named(folder):
    place = make_reranker(folder / "short-reranker")
    engine = Engine(load.load_encoder(str(place), "r", "reranker"))
    with pytest.raises(Refusal) as refused:
        engine.submit(Rerank("r", "fox?", ["fox", "x y z " * 60]))
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "documents[1]")


def test_other_requests_are_refused_by_name_and_kind(bert):
    engine = Engine(bert)
    for request in (Generate("g", prompts=["a"]), Rerank("r", "a", ["b"])):
        with pytest.raises(Refusal) as refused:
            engine.reception.prepare(CLIENT, request)
        assert (refused.value.code, refused.value.param) == ("unsupported_model", "model")
        assert "bert is a model of the kind `embedding`" in refused.value.message
    with pytest.raises(Refusal):
        engine.reception.count(Generate("g", prompts=["a"]))


# --- who fails, and who doesn't --------------------------------------------------------------------------------------


def breaking(encoder, monkeypatch, token, error=None):
    """Texts with this token fail: by an exception that takes the whole step with it, or as numbers that are none."""
    forward = encoder.forward

    def broken(ids, mask, types):
        bad = (ids == token).any(axis=1)
        if error is not None and bad.any().item():
            raise error
        return mx.where(bad[:, None], mx.nan, forward(ids, mask, types))

    monkeypatch.setattr(encoder, "forward", broken)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, "engine_error"),
        (RuntimeError("chosen to fail"), "engine_error"),
        (RuntimeError("[malloc] Unable to allocate"), "server_is_overloaded"),
    ],
)
def test_only_those_fail_on_whom_the_model_does(bert, monkeypatch, error, code):
    token = bert.vocab - 1
    breaking(bert, monkeypatch, token, error)
    engine = Engine(bert)
    for index in range(6):
        engine.submit(Embed(f"good {index}", [[10, 11, 12], [13, 14]]))
    engine.submit(Embed("bad", [[10, 11, 12], [10, token, 12], [13, 14]]))
    engine.finish()
    events, end = engine.said.pop("bad")
    assert events == [] and isinstance(end, Failed) and end.code == code
    assert "input[1]" in end.message
    assert len(engine.said) == 6
    monkeypatch.undo()
    expected = bert.compute([Text([10, 11, 12]), Text([13, 14])])
    for id in engine.said:
        assert np.abs(engine.vectors(id) - expected).max() < ROUNDING


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


# --- which texts share a step ----------------------------------------------------------------------------------------


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


def test_a_model_that_padding_disturbs_reads_alone(bert, monkeypatch):
    forward = bert.forward
    monkeypatch.setattr(bert, "forward", lambda ids, mask, types: forward(ids, mx.ones_like(mask), types))
    engine = Engine(bert)
    assert engine.core.batching == "single" and "padding" in engine.core.batching_reason
    engine.submit(Embed("e", ["fox", "The quick brown fox"]))
    assert engine.finish() == 2


# --- loading ---------------------------------------------------------------------------------------------------------


def test_kinds_are_told_from_files_alone(folder, tmp_path):
    assert kind_of(str(BUILTIN_FOLDER / "atelier-tiny")) == "text"
    assert kind_of(str(tmp_path / "nowhere")) == "text", "the loader will find the fault, and has the words for it"
    write(tmp_path / "judge" / "config.json", {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]})
    assert kind_of(str(tmp_path / "judge")) == "text"
    write(tmp_path / "judge" / "config_sentence_transformers.json", {"model_type": "CrossEncoder"})
    assert kind_of(str(tmp_path / "judge")) == "reranker"
    write(tmp_path / "modules" / "config.json", {"model_type": "qwen3"})
    write(tmp_path / "modules" / "modules.json", [{"type": "sentence_transformers.cross_encoder.modules.LogitScore"}])
    assert kind_of(str(tmp_path / "modules")) == "reranker"
    write(tmp_path / "pooled" / "config.json", {"model_type": "qwen3"})
    write(tmp_path / "pooled" / "1_Pooling" / "config.json", {"pooling_mode": "lasttoken"})
    assert kind_of(str(tmp_path / "pooled")) == "embedding"


def test_what_can_not_be_loaded_is_said(folder, tmp_path):
    write(tmp_path / "no-weights" / "config.json", {"model_type": "bert"})
    with pytest.raises(ModelError, match="No safetensors"):
        load.load_encoder(str(tmp_path / "no-weights"), "x", "embedding")
    with pytest.raises(ModelError, match="can't be loaded as reranker model"):
        load.load_encoder(str(make_embedder(tmp_path / "no-head")), "x", "reranker")
    odd = make_embedder(tmp_path / "odd", pooling="weightedmean")
    with pytest.raises(ModelError, match="weightedmean"):
        load.load_encoder(str(odd), "x", "embedding")
    config = json.loads((odd / "config.json").read_text())
    write(odd / "config.json", {**config, "model_type": "unheard-of"})
    with pytest.raises(ModelError, match="unheard-of"):
        load.load_encoder(str(odd), "x", "embedding")
