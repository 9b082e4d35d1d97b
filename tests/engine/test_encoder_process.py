"""An embedding model's engine process, spoken to in its own protocol."""

import asyncio
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest

from inference.engine.protocol import LOAD_FAILED, Accepted, Embed, Embedded, Failed, Finished, Generate, Ranked, Rerank
from inference.supervisor import engine_environment
from tests.support.encoders_made import library_scores, library_vectors, make_embedder, make_reranker
from tests.support.engine_process import engine_process
from tests.support.server import ROOT

TEXTS = ["The quick brown fox", "a", "again and again", "Ça va très bien, merci; grüß Gott und schöne Straße!"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_embedder(tmp_path_factory.mktemp("model") / "made", "qwen3")


@pytest.fixture(scope="module")
def endpoint(model):
    with engine_process(model) as (endpoint, _):
        yield endpoint


async def events_of(generation):
    return [event for events in [events async for events in generation] for event in events]


async def test_it_says_what_it_is(client, endpoint):
    ready = await client.wait_ready(endpoint, 60)
    assert (ready.kind, ready.batching, ready.context_length) == ("embedding", "batched", 128)
    heartbeat = await client.heartbeat(endpoint, 5)
    assert heartbeat.stats.running == heartbeat.stats.waiting == 0


async def test_many_at_once_get_what_each_would_get_alone(client, endpoint, model):
    await client.wait_ready(endpoint, 60)
    expected = library_vectors(model, TEXTS)
    requests = [Embed(uuid.uuid4().hex, TEXTS[index % 4 :], user=f"u{index % 3}") for index in range(24)]
    answers = await asyncio.gather(*(events_of(client.generate(endpoint, request)) for request in requests))
    for index, (accepted, embedded, finished) in enumerate(answers):
        assert isinstance(accepted, Accepted) and isinstance(embedded, Embedded) and isinstance(finished, Finished)
        vectors = np.frombuffer(embedded.vectors, "<f4").reshape(-1, embedded.width)
        assert np.abs(vectors - expected[index % 4 :]).max() < 2e-6
        assert finished.reason == "stop"
        assert finished.tally.prompt_tokens == accepted.prompt_tokens == sum(embedded.tokens)
        assert finished.tally.engine_seconds > 0 and finished.tally.completion_tokens == 0
    known = await client.reconcile(endpoint, [requests[0].id], 5)
    assert known[requests[0].id].prompt_tokens == answers[0][0].prompt_tokens


async def test_one_bad_input_fails_its_request_and_no_other(client, endpoint):
    await client.wait_ready(endpoint, 60)
    good, bad = Embed("good", TEXTS), Embed("bad", ["a", "x y z " * 100])
    answers = await asyncio.gather(*(events_of(client.generate(endpoint, request)) for request in (bad, good)))
    [[failed], [*_, finished]] = answers
    assert isinstance(failed, Failed) and isinstance(finished, Finished)
    assert (failed.code, failed.param) == ("context_length_exceeded", "input[1]")


async def test_requests_of_another_kind_are_refused(client, endpoint):
    await client.wait_ready(endpoint, 60)
    for request in (Generate(uuid.uuid4().hex, prompts=["a"]), Rerank(uuid.uuid4().hex, "a", ["b"])):
        [failed] = await events_of(client.generate(endpoint, request))
        assert (failed.code, failed.param) == ("unsupported_model", "model")


async def test_a_cancelled_request_ends_at_once(client, endpoint):
    """Long enough to be tokenised beside the others."""
    await client.wait_ready(endpoint, 60)
    generation = client.generate(endpoint, Embed("long", ["x y z " * 12] * 2048))
    generation.cancel()
    end = await generation.drain(30)
    assert isinstance(end, Finished) and end.reason == "cancelled"
    whole = await events_of(client.generate(endpoint, Embed("after", ["a"])))
    assert end.tally.prompt_tokens < 2048 * 12 and isinstance(whole[-1], Finished)


@pytest.mark.parametrize(("family", "arguments"), [("bert", []), ("qwen3", ["--kind", "reranker"])])
async def test_a_reranker(client, tmp_path, family, arguments):
    model = make_reranker(tmp_path / "ranks", family)
    expected = library_scores(model, "fox?", TEXTS)
    with engine_process(model, *arguments) as (endpoint, _):
        assert (await client.wait_ready(endpoint, 60)).kind == "reranker"
        _, ranked, finished = await events_of(client.generate(endpoint, Rerank("r", "fox?", TEXTS)))
    assert isinstance(ranked, Ranked) and np.abs(np.array(ranked.scores) - expected).max() < 2e-6
    assert finished.tally.prompt_tokens == sum(ranked.tokens)


def test_a_model_that_is_no_reranker_ends_the_process_with_a_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "inference.engine", "--model", str(make_embedder(Path(tmp_path) / "e")), "--name", "e",
         "--endpoint", f"ipc://{tmp_path}/e", "--kind", "reranker"],
        env=engine_environment(), cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == LOAD_FAILED
    assert "can't be loaded as reranker model" in done.stderr and "Traceback" not in done.stderr
