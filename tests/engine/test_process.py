"""One real engine process, spoken to in its own protocol."""

import asyncio
import os
import signal
import subprocess
import sys
import uuid

import pytest
import zmq
import zmq.asyncio

from inference.client import EngineClient, EngineDied, EngineUnavailable
from inference.engine import protocol
from inference.engine.protocol import Accepted, Begun, Delta, Ended, Failed, Finished, FirstToken, Generate, Sampling
from tests.support.engine_process import engine_process
from tests.support.models_made import FAMILIES, make_model
from tests.support.server import ROOT
from tests.support.tokenizers_made import byte_fallback, byte_level

PROMPTS = ["The quick brown fox", "def main():", "again", "Ça va très bien, merci; grüß Gott und schöne Straße! " * 3]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    model = make_model(tmp_path_factory.mktemp("model"))
    with engine_process(model, "--max-num-seqs", "8", "--max-waiting", "12") as (endpoint, _):
        yield endpoint


async def collect(generation):
    """All text, the number of tokens in its deltas, all events."""
    events = [event async for batch in generation for event in batch]
    deltas = [event for event in events if isinstance(event, Delta)]
    return "".join(delta.text for delta in deltas), sum(delta.tokens for delta in deltas), events


async def ask(client, endpoint, prompt, **request):
    await client.wait_ready(endpoint, 60)
    request.setdefault("max_tokens", 24)
    return await collect(client.generate(endpoint, Generate(id=uuid.uuid4().hex, prompts=[prompt], **request)))


def test_an_engine_whose_starter_is_gone_when_it_has_loaded_ends(tmp_path, monkeypatch):
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    monkeypatch.setenv(protocol.PARENT, str(gone.pid))
    with engine_process(make_model(tmp_path)) as (_, process):
        assert process.wait(60) == 1


async def test_events_come_in_order_and_add_up(client, engine):
    _, tokens, events = await ask(client, engine, PROMPTS[0])
    assert [type(event) for event in events[:3]] == [Accepted, Begun, FirstToken]
    assert all(isinstance(event, Delta) for event in events[3:-2]) and isinstance(events[-2], Ended)
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.tally.completion_tokens == tokens
    assert finished.tally.prompt_tokens == events[0].prompt_tokens
    assert finished.reason == events[-2].reason == "length" and tokens == 24
    assert finished.tally.engine_seconds > 0


async def test_a_conversation_is_rendered(client, engine):
    await client.wait_ready(engine, 60)
    messages = [{"role": "user", "content": "again"}]
    request = Generate(id=uuid.uuid4().hex, messages=messages, max_tokens=4)
    _, tokens, events = await collect(client.generate(engine, request))
    plain = await ask(client, engine, "<|im_start|>user\nagain<|im_end|>\n<|im_start|>assistant\n", max_tokens=4)
    assert events[0].prompt_tokens == plain[2][0].prompt_tokens
    assert tokens == 4


async def test_many_at_once_give_what_each_gives_alone(client, engine):
    settings = [
        Sampling(),
        Sampling(temperature=1.0, seed=7),
        Sampling(temperature=0.8, top_p=0.9, top_k=40, seed=8),
        Sampling(presence_penalty=1.0, repetition_penalty=1.2),
    ]
    cases = [(prompt, sampling) for prompt in PROMPTS for sampling in settings]
    alone = [(await ask(client, engine, prompt, sampling=sampling))[0] for prompt, sampling in cases]
    together = await asyncio.gather(*(ask(client, engine, prompt, sampling=sampling) for prompt, sampling in cases))
    assert [text for text, _, _ in together] == alone
    assert len(set(alone)) > len(PROMPTS), "the cases must differ for this to mean anything"


async def test_long_prompts_are_prefilled_in_chunks_beside_others(client, engine):
    """The chunks of one prompt are told from the steps: more steps than tokens were generated."""
    await client.wait_ready(engine, 60)
    long = PROMPTS[3] * 6
    alone = (await ask(client, engine, long, max_tokens=8))[0]
    short = asyncio.create_task(ask(client, engine, PROMPTS[0], max_tokens=200))
    await asyncio.sleep(0.1)
    assert (await ask(client, engine, long, max_tokens=8))[0] == alone
    assert (await short)[1] == 200


async def test_cancelling_stops_within_a_step(client, engine):
    await client.wait_ready(engine, 60)
    generation = client.generate(engine, Generate(id=uuid.uuid4().hex, prompts=["again"], max_tokens=1500))
    received = 0
    async for events in generation:
        received += sum(event.tokens for event in events if isinstance(event, Delta))
        if received >= 10:
            break
    generation.cancel()
    generation.cancel()
    finished = await generation.drain(5)
    assert finished is not None and finished.reason == "cancelled"
    assert finished.tally.completion_tokens < 200


async def test_cancelling_a_request_that_still_waits(client, engine):
    await client.wait_ready(engine, 60)
    ids = [uuid.uuid4().hex for _ in range(10)]
    generations = [client.generate(engine, Generate(id=id, prompts=["again"], max_tokens=400)) for id in ids]
    await asyncio.sleep(0.05)
    for generation in reversed(generations):
        generation.cancel()
    ends = [await generation.drain(5) for generation in generations]
    assert [end.reason for end in ends] == ["cancelled"] * 10
    assert ends[9].tally.completion_tokens == 0


async def test_a_stop_string_cuts_and_is_named(client, engine):
    whole = (await ask(client, engine, PROMPTS[0]))[0]
    stop = whole[10:13]
    text, tokens, events = await ask(client, engine, PROMPTS[0], stop=["never said", stop])
    assert text == whole[: whole.index(stop)]
    assert events[-1].reason == "stop" and events[-2].stop_sequence == stop
    assert events[-1].tally.completion_tokens == tokens < 24


async def test_an_end_token_ends_the_turn_and_is_counted(client, engine):
    """Bias makes the end token the first one; the answer is empty and costs one token."""
    end = byte_level().convert_tokens_to_ids("<|im_end|>")
    text, tokens, events = await ask(client, engine, "again", sampling=Sampling(logit_bias={end: 100.0}))
    assert (text, tokens, events[-1].reason) == ("", 1, "stop")
    assert events[-1].tally.completion_tokens == 1


@pytest.mark.parametrize(
    ("request_", "code", "param", "says"),
    [
        (dict(prompts=["x"], max_tokens=5000), "context_length_exceeded", "prompt", "2048"),
        (dict(prompts=["x " * 5000]), "context_length_exceeded", "prompt", "2048"),
        (dict(messages=[{"role": "user", "content": "x " * 5000}]), "context_length_exceeded", "messages", "2048"),
        (dict(prompts=[[]]), "invalid_prompt", "prompt", "empty"),
        (dict(prompts=[[3, 99_999]]), "invalid_prompt", "prompt", "99999"),
        (dict(prompts=[[-1]]), "invalid_prompt", "prompt", "-1"),
        (dict(prompts=["x"], sampling=Sampling(logit_bias={50_000: 1.0})), "invalid_prompt", "logit_bias", "50000"),
    ],
)  # fmt: skip
async def test_what_can_not_run_is_refused(client, engine, request_, code, param, says):
    await client.wait_ready(engine, 60)
    _, tokens, events = await collect(client.generate(engine, Generate(id=uuid.uuid4().hex, **request_)))
    assert [type(event) for event in events] == [Failed]
    assert (events[0].code, events[0].param, tokens) == (code, param, 0)
    assert says in events[0].message


async def test_the_prompt_may_fill_the_context_up_to_the_last_token(client, engine):
    _, tokens, events = await collect_tokens(client, engine, [5] * 2047, max_tokens=1)
    assert tokens == 1 and events[-1].reason == "length"
    _, tokens, events = await collect_tokens(client, engine, [5] * 2040)
    assert tokens == 8, "without max_tokens the answer takes what the context leaves"
    assert isinstance((await collect_tokens(client, engine, [5] * 2048))[2][-1], Failed)


async def collect_tokens(client, engine, tokens, **request):
    await client.wait_ready(engine, 60)
    return await collect(client.generate(engine, Generate(id=uuid.uuid4().hex, prompts=[tokens], **request)))


async def test_a_full_queue_refuses_the_next_one(client, engine):
    await client.wait_ready(engine, 60)
    requests = [Generate(id=uuid.uuid4().hex, prompts=["again"], max_tokens=60) for _ in range(40)]
    results = await asyncio.gather(*(collect(client.generate(engine, request)) for request in requests))
    refused = [events[-1] for _, _, events in results if isinstance(events[-1], Failed)]
    served = [events[-1] for _, _, events in results if isinstance(events[-1], Finished)]
    assert len(served) >= 20 and refused
    assert {failed.code for failed in refused} == {"server_is_overloaded"}
    hints = [failed.retry_after for failed in refused]
    assert all(hint > 0 for hint in hints)
    # One after the other, for there is room for one at a time.
    assert len(set(hints)) == len(hints)


async def test_one_id_runs_once(client, engine):
    await client.wait_ready(engine, 60)
    first = client.generate(engine, Generate(id="twice", prompts=["again"], max_tokens=100))
    other = EngineClient(f"other-{uuid.uuid4().hex[:8]}")
    try:
        await other.wait_ready(engine, 10)
        async for _ in first:
            break
        _, _, events = await collect(other.generate(engine, Generate(id="twice", prompts=["again"])))
        assert isinstance(events[-1], Failed)
        assert isinstance(events[-1], Failed) and (await collect(first))[2][-1].reason == "length"
    finally:
        await other.close()


async def test_what_is_not_of_the_protocol_is_dropped(client, engine):
    await client.wait_ready(engine, 60)
    context = zmq.asyncio.Context()
    socket = context.socket(zmq.DEALER)
    socket.connect(f"{engine}.in")
    for rubbish in (b"", b"\xff" * 100, b"\x81\xa4type\xa8Generate", os.urandom(3000)):
        await socket.send(rubbish)
    assert (await ask(client, engine, "again"))[1] == 24
    socket.close()
    context.term()


async def test_a_client_that_vanished_costs_nothing_more(client, engine):
    """Its requests are cancelled as soon as an answer can't be delivered, and its successor can ask for the bill."""
    name = f"vanishing-{uuid.uuid4().hex[:8]}"
    vanishing = EngineClient(name)
    await vanishing.wait_ready(engine, 60)
    generation = vanishing.generate(engine, Generate(id=f"left-{name}", prompts=["again"], max_tokens=2000))
    async for events in generation:
        if isinstance(events[-1], Delta):
            break
    await vanishing.close()
    successor = EngineClient(name)
    try:
        tallies = await successor.reconcile(engine, [f"left-{name}", "never heard of"], 10)
        assert set(tallies) == {f"left-{name}"}
        assert 0 < tallies[f"left-{name}"].completion_tokens < 2000
    finally:
        await successor.close()


async def test_heartbeats_count(client, engine):
    await ask(client, engine, "again", max_tokens=5)
    async with asyncio.timeout(10):
        while (stats := client.stats(engine)) is None or stats.running + stats.waiting:
            await asyncio.sleep(0.1)
    assert stats.generated_tokens >= 5 and stats.steps > 0 and stats.memory_bytes > 0


@pytest.mark.parametrize(
    ("family", "options"),
    [
        *((family, {}) for family in FAMILIES),
        ("qwen3", {"bits": 4}),
        ("qwen3", {"bits": 8}),
        ("llama", "byte fallback"),
    ],
    ids=str,
)
async def test_families_batch_and_agree_with_mlx_lm(client, tmp_path, family, options):
    """Other caches, quantised weights, another kind of tokenizer: each row as mlx-lm's own generate has it."""
    from mlx_lm import load, stream_generate

    options = {"tokenizer": byte_fallback()} if options == "byte fallback" else options
    model = make_model(tmp_path / "model", family, **options)
    loaded, tokenizer = load(str(model))
    expected = []
    for prompt in PROMPTS:
        tokens = [step.token for step in stream_generate(loaded, tokenizer, tokenizer.encode(prompt), max_tokens=8)]
        expected.append(tokenizer.decode(tokens, skip_special_tokens=True))
    with engine_process(model) as (endpoint, _):
        answers = await asyncio.gather(*(ask(client, endpoint, prompt, max_tokens=8) for prompt in PROMPTS))
    assert [text for text, _, _ in answers] == expected


async def test_a_killed_engine_is_an_error_at_once(client, tmp_path):
    model = make_model(tmp_path / "model")
    with engine_process(model) as (endpoint, process):
        await client.wait_ready(endpoint, 60)
        generation = client.generate(endpoint, Generate(id="dies", prompts=["again"], max_tokens=2000))
        async for _ in generation:
            break
        process.send_signal(signal.SIGKILL)
        with pytest.raises(EngineDied):
            async with asyncio.timeout(3):
                await collect(generation)
        with pytest.raises(EngineUnavailable):
            await client.wait_ready(endpoint, 0.2)
        with pytest.raises(EngineDied):
            await collect(client.generate(endpoint, Generate(id="too late", prompts=["again"])))


@pytest.mark.parametrize(
    ("source", "says"),
    [("./nowhere/at/all", "no such folder"), ("EMPTY", "no config.json"), ("BROKEN", "can't be loaded")],
)
def test_a_model_that_can_not_be_loaded_is_said_in_one_line(tmp_path, source, says):
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "BROKEN").mkdir()
    (tmp_path / "BROKEN" / "config.json").write_text('{"model_type": "no-such-architecture"}')
    (tmp_path / "BROKEN" / "model.safetensors").write_bytes(b"")
    command = [sys.executable, "-m", "inference.engine", "--name", "x", "--endpoint", f"ipc://{tmp_path}/x", "--model"]
    where = source if source.startswith(".") else str(tmp_path / source)
    done = subprocess.run([*command, where], capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)
    assert done.returncode == 3
    assert says in done.stderr and "Traceback" not in done.stderr
