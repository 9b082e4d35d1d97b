"""GET /health/diagnostics, and `include_diagnostics` in requests."""

import json
import shutil
from collections import namedtuple
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from channels.db import database_sync_to_async
from msgspec import structs

from gateway import diagnostics
from gateway.diagnostics import LATE_SECONDS, SILENT_SECONDS, Check
from inference.client import Heartbeat
from inference.engine.monitors.divergence import DivergenceReport
from inference.engine.monitors.memory import MemoryReport
from inference.engine.monitors.repetition import RepetitionReport
from inference.engine.prefix.disk import TierCounters
from inference.engine.prefix.records import Counters
from inference.engine.protocol import Diagnosis, Divergence, Ended, Finished, FirstToken, Ready, Stats
from inference.models import Engine
from tests.gateway.local import LocalGateway
from tests.gateway.scripts import CHAT, TALLY, answers, body, with_streams
from tests.support.server import Server

HEALTH = "/health/diagnostics"
CHECKS = {
    "engine", "memory", "batch_invariance", "repetition_policy", "prefix_cache", "ssd_tier", "database", "disk",
    "worker", "maintenance", "pictures",
}  # fmt: skip
MEMORY = MemoryReport(
    state="ok", percent=41.5, used_bytes=3 << 30, limit_bytes=8_000_000_000, trend="stable", action="warn",
    context_share=1.0, refusing=False, warned=0, limited=0,
)  # fmt: skip
DIVERGENCE = DivergenceReport(
    enabled=True, probes=9, agreement=0.99, threshold=0.95, action="warn", diverging=False, serialized=False, alarms=0
)
READY = Ready(instance="1", model="m", context_length=4096, pid=1, has_chat_template=True)


def stats(**changes: Any) -> Stats:
    """A heartbeat with the engine's own kinds of reports."""
    reports = {
        "memory": structs.asdict(MEMORY),
        "divergence": structs.asdict(DIVERGENCE),
        "repetition": structs.asdict(RepetitionReport("safe", {})),
        "cache": asdict(Counters(blocks_total=256, blocks_used=3, tokens_asked=100, tokens_saved=60)),
        "tier": asdict(TierCounters()),
    }
    return Stats(
        steps=5, running=1, waiting=2, requests=40, memory_bytes=2_500_000_000, peak_memory_bytes=3_000_000_000,
        **{**reports, **changes},
    )  # fmt: skip


# --- the report --------------------------------------------------------------------------------------------------


def test_a_whole_server_is_healthy(server: Server) -> None:
    with server.client() as http:
        http.post(CHAT, json={"model": "default", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2})
        answer = http.get(HEALTH)
    said = answer.json()
    assert answer.status_code == 200
    assert set(said) == {"status", "model", "checks", "memory", "timestamp"}
    assert set(said["checks"]) == CHECKS
    assert all(set(check) == {"status", "detail"} for check in said["checks"].values())
    # How full this machine's memory and disk are is no matter of ours.
    own = {name: said["checks"][name]["status"] for name in CHECKS - {"memory", "disk", "batch_invariance"}}
    assert own == dict.fromkeys(own, "pass"), said
    assert said["model"] == "atelier-tiny"
    assert said["memory"]["peak_gb"] >= said["memory"]["active_gb"] > 0


def test_an_engine_with_an_ssd_tier_reports_it(tmp_path: Path) -> None:
    with Server(tmp_path / "data", "--ssd-cache-dir", str(tmp_path / "tier")) as server, server.client() as http:
        said = http.get(HEALTH).json()["checks"]
    assert said["engine"]["status"] == said["ssd_tier"]["status"] == "pass", said
    assert "files" in said["ssd_tier"]["detail"]


def test_it_needs_a_key_which_liveness_does_not(server: Server) -> None:
    assert httpx.get(f"{server.base_url}{HEALTH}").status_code == 401
    assert httpx.get(f"{server.base_url}/health").status_code == 200


async def test_it_tells_what_the_heartbeat_tells(gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    # Here is no worker to wait for.
    monkeypatch.setattr(diagnostics, "WORKER_SECONDS", 0.01)
    async with gateway.engine(answers, stats=stats()):
        answer = await gateway.ask(HEALTH, method="GET")
        named = await gateway.ask(HEALTH, method="GET", query_string=b"model=alias")
        missing = await gateway.ask(HEALTH, method="GET", query_string=b"model=nope")
    assert answer.json["memory"] == {
        "active_gb": 2.5, "peak_gb": 3.0, "system_gb": 8.0, "utilization_pct": 41.5, "trend": "stable",
        "pressure": "normal",
    }  # fmt: skip
    assert answer.json["checks"]["worker"]["status"] == "warning"
    assert answer.json["status"] in ("degraded", "unhealthy")
    assert named.json["model"] == "scripted" and missing.status == 404


async def test_without_an_engine_it_is_a_report_all_the_same(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnostics, "WORKER_SECONDS", 0.01)
    # The real limit, only shorter: nobody waits for the whole of it here.
    monkeypatch.setattr(diagnostics, "PATIENCE_SECONDS", 0.05)
    await database_sync_to_async(Engine.objects.update)(state="failed")
    answer = await gateway.ask(HEALTH, method="GET")
    assert (answer.status, answer.json["status"]) == (200, "unhealthy")
    assert answer.json["checks"]["engine"]["status"] == "fail"
    assert answer.json["checks"]["memory"] == {"status": "unknown", "detail": "No heartbeat."}
    assert answer.json["memory"]["active_gb"] is None and answer.json["memory"]["pressure"] == "unknown"
    assert answer.json["checks"]["database"]["status"] == "pass"


async def test_a_check_that_breaks_is_a_failed_check_without_its_words(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnostics, "WORKER_SECONDS", 0.01)

    def broken() -> None:
        # A database that fails at this very moment; no real one does so when asked.
        raise RuntimeError("a secret")

    monkeypatch.setattr(diagnostics, "_query", broken)
    async with gateway.engine(answers, stats=stats()):
        answer = await gateway.ask(HEALTH, method="GET")
    assert answer.json["checks"]["database"] == {"status": "fail", "detail": "RuntimeError."}
    assert answer.json["status"] == "unhealthy"


@pytest.mark.parametrize(
    ("check", "changes", "status", "said"),
    [
        ("memory", {}, "pass", "42 %"),
        ("memory", {"memory": {"state": "unknown"}}, "unknown", ""),
        ("memory", {"memory": {}}, "unknown", ""),
        ("memory", {"memory": {**structs.asdict(MEMORY), "state": "warn"}}, "warning", "stable"),
        (
            "memory",
            {"memory": {**structs.asdict(MEMORY), "state": "limit", "refusing": True, "context_share": 0.5}},
            "fail",
            "New requests are refused. New requests get 50% of the context.",
        ),
        ("batch_invariance", {}, "pass", "99.0%"),
        ("batch_invariance", {"divergence": {}}, "unknown", "--batch-divergence-monitor"),
        ("batch_invariance", {"divergence": {**structs.asdict(DIVERGENCE), "agreement": None}}, "unknown", "No probe"),
        (
            "batch_invariance",
            {"divergence": {**structs.asdict(DIVERGENCE), "agreement": 0.8, "diverging": True, "serialized": True}},
            "warning",
            "one at a time",
        ),
        ("repetition_policy", {}, "pass", "0 of 40"),
        ("repetition_policy", {"repetition": {"policy": "off", "stopped": {}}}, "unknown", "--repetition-policy"),
        ("repetition_policy", {"repetition": {"policy": "safe", "stopped": {"x": 4}}}, "pass", "4 of 40"),
        ("repetition_policy", {"repetition": {"policy": "safe", "stopped": {"x": 3, "y": 2}}}, "warning", "5 of 40"),
        ("prefix_cache", {}, "pass", "60% of 100"),
        ("prefix_cache", {"cache": asdict(Counters(blocks_total=9))}, "pass", "nothing looked up"),
        ("prefix_cache", {"cache": asdict(Counters())}, "pass", "Off."),
        ("prefix_cache", {"cache": asdict(Counters(blocks_total=9, abandoned=2))}, "warning", "2 blocks"),
        ("ssd_tier", {}, "pass", "0 files"),
        ("ssd_tier", {"tier": {}}, "pass", "Off."),
        ("ssd_tier", {"tier": asdict(TierCounters(corrupt=1, errors=2))}, "warning", "errors 2, corrupt 1"),
        ("ssd_tier", {"tier": asdict(TierCounters(writing=False))}, "fail", "Nothing is written"),
    ],
)
def test_checks_of_an_engine(check: str, changes: dict[str, Any], status: str, said: str) -> None:
    found = diagnostics.OF_ENGINE[check](stats(**changes))
    assert found.status == status and said in found.detail, found


def served(state: str) -> Any:
    return namedtuple("Served", "name state")("m", state)


@pytest.mark.parametrize(
    ("model", "ready", "heartbeat", "status"),
    [
        (None, None, None, "fail"),
        (served("starting"), None, None, "warning"),
        (served("failed"), None, None, "fail"),
        (served("stopped"), None, None, "fail"),
        (served("ready"), None, None, "fail"),
        (served("ready"), READY, None, "warning"),
        (served("ready"), READY, Heartbeat(stats(), 0.4), "pass"),
        (served("ready"), READY, Heartbeat(stats(), LATE_SECONDS), "warning"),
        (served("ready"), READY, Heartbeat(stats(), SILENT_SECONDS), "fail"),
    ],
)
def test_an_engine_is_as_fresh_as_its_heartbeat(model: Any, ready: Any, heartbeat: Any, status: str) -> None:
    assert diagnostics.check_engine(model, ready, heartbeat).status == status


@pytest.mark.parametrize(("free", "status"), [(1 << 40, "pass"), (1 << 30, "warning"), (1 << 20, "fail")])
def test_the_data_folders_disk(monkeypatch: pytest.MonkeyPatch, free: int, status: str) -> None:
    # A disk that is nearly full can't be had.
    usage = namedtuple("Usage", "total used free")(1 << 41, 0, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert diagnostics.check_disk().status == status


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [(["pass", "unknown"], "healthy"), (["pass", "warning"], "degraded"), (["warning", "fail"], "unhealthy")],
)
def test_the_worst_check_is_the_verdict(statuses: list[Any], verdict: str) -> None:
    assert diagnostics.verdict([Check(status, "") for status in statuses]) == verdict


# --- of a request ------------------------------------------------------------------------------------------------


async def tells(engine: Any, request: Any) -> Any:
    """Answers, and tells of it what it was asked for."""
    diagnosis = Diagnosis(context_tokens=10, rows=2.5, most_rows=4, preemptions=1, divergence=Divergence(4, 7, 12))
    yield FirstToken(request.id, 1.0, 3.0)
    yield [
        Ended(request.id, 0, "stop"),
        Finished(request.id, "stop", TALLY, diagnosis if request.diagnostics else None),
    ]


def parts(exchange: Any, stream: bool) -> list[Any]:
    return [event for event in exchange.events if event != "[DONE]"] if stream else [exchange.json]


@with_streams
async def test_a_response_tells_with_its_end(gateway: LocalGateway, stream: bool) -> None:
    asked = {"model": "scripted", "input": "hi", "stream": stream, "store": False}
    async with gateway.engine(tells, stats=stats()):
        plain = await gateway.ask("/v1/responses", body=json.dumps(asked).encode())
        told = await gateway.ask("/v1/responses", body=json.dumps({**asked, "include_diagnostics": True}).encode())
    assert plain.status == told.status == 200 and b"diagnostics" not in plain.body
    assert told.body.count(b'"diagnostics"') == 1
    whole = json.loads(told.body.split(b"data: ")[-1]) if stream else told.json
    found = (whole["response"] if stream else whole)["diagnostics"]
    assert (found["level"], found["prompt_tokens"], found["completion_tokens"]) == ("basic", 7, 3)


@with_streams
@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
async def test_answers_tell_only_when_asked(gateway: LocalGateway, path: str, stream: bool) -> None:
    asked = {"model": "scripted", "stream": stream, **({"prompt": "hi"} if path != CHAT else json.loads(body()))}
    asked["stream"] = stream
    async with gateway.engine(tells, stats=stats()) as engine:
        for silent in ({}, {"include_diagnostics": False}, {"include_diagnostics": None, "diagnostics_level": None}):
            plain = await gateway.ask(path, body=json.dumps({**asked, **silent}).encode())
            assert plain.status == 200 and b"diagnostics" not in plain.body
            assert not engine.requests[-1].diagnostics
        told = await gateway.ask(path, body=json.dumps({**asked, "include_diagnostics": True}).encode())
        deep = await gateway.ask(
            path, body=json.dumps({**asked, "include_diagnostics": True, "diagnostics_level": "deep"}).encode()
        )
    [basic] = [part["diagnostics"] for part in parts(told, stream) if "diagnostics" in part]
    if stream:
        assert parts(told, stream)[-1]["choices"] == [] and "usage" not in parts(told, stream)[-1]
        assert told.events[-1] == "[DONE]"
    assert basic == {
        "level": "basic", "max_context_tokens": None, "effective_context_tokens": 4096,
        "effective_context_source": "model_config", "context_utilization_pct": 0.24, "visual_inputs": 0,
        "visual_token_estimate": None, "visual_phase": "unknown", "queue_ms": 1.0, "prefill_ms": 2.0, "decode_ms": 3.0,
        "prompt_tokens": 7, "cached_tokens": 4, "completion_tokens": 3, "reasoning_tokens": 0,
        "tokens_per_second": 666.67, "batching": "batched", "batch_size": 2.5, "batch_size_max": 4, "preemptions": 1,
        "cache_divergence": {"token": 4, "tokens": 7, "lost": 12}, "speculative": None, "runtime": None,
    }  # fmt: skip
    runtime = parts(deep, stream)[-1]["diagnostics"]["runtime"]
    assert (runtime["running"], runtime["waiting"]) == (1, 2)
    assert runtime["memory"]["pressure"] == "normal"
    assert runtime["batch_divergence"]["agreement"] == 0.99 and runtime["repetition"]["policy"] == "safe"


async def test_a_stream_with_usage_tells_it_all_in_one_chunk(gateway: LocalGateway) -> None:
    async with gateway.engine(tells):
        answer = await gateway.ask(
            CHAT, body=body(stream=True, include_diagnostics=True, stream_options={"include_usage": True})
        )
    *before, last, done = answer.events
    assert done == "[DONE]"
    assert last["choices"] == [] and last["usage"]["prompt_tokens"] == 7 and last["diagnostics"]["prompt_tokens"] == 7
    assert not any("diagnostics" in chunk for chunk in before)


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"include_diagnostics": "yes"}, "include_diagnostics"),
        ({"include_diagnostics": True, "diagnostics_level": "deeper"}, "diagnostics_level"),
        ({"diagnostics_level": "deep"}, "diagnostics_level"),
        ({"include_diagnostics": False, "diagnostics_level": "basic"}, "diagnostics_level"),
    ],
)
async def test_wrong_fields_are_named(gateway: LocalGateway, path: str, fields: dict[str, Any], param: str) -> None:
    asked = {"model": "scripted", **({"prompt": "hi"} if path != CHAT else json.loads(body())), **fields}
    answer = await gateway.ask(path, body=json.dumps(asked).encode())
    assert (answer.status, answer.error["param"]) == (400, param)


def test_a_real_engine_tells_the_truth(server: Server) -> None:
    sdk = openai.OpenAI(base_url=f"{server.base_url}/v1", api_key=server.key)
    words = "Remember these words: " + "lake stone wind " * 60

    def ask(question: str, **extra: Any) -> Any:
        return sdk.chat.completions.create(
            model="default", messages=[{"role": "user", "content": words + question}], max_tokens=8, temperature=0,
            extra_body={"include_diagnostics": True, **extra},
        )  # fmt: skip

    first, again = ask("What is 3 + 4?"), ask("How are you today?", diagnostics_level="deep")
    told = again.model_extra["diagnostics"]
    assert told["prompt_tokens"] == again.usage.prompt_tokens
    assert told["completion_tokens"] == again.usage.completion_tokens <= 8
    assert told["cached_tokens"] == again.usage.prompt_tokens_details.cached_tokens > 100
    # What it could use ends where its prompt parted from the one before.
    assert told["cache_divergence"]["token"] == told["cached_tokens"]
    assert told["cache_divergence"]["tokens"] == told["prompt_tokens"]
    assert first.model_extra["diagnostics"]["batch_size"] == told["batch_size"] == 1.0
    assert told["queue_ms"] >= 0 and told["prefill_ms"] > 0 and told["decode_ms"] > 0
    assert told["max_context_tokens"] == told["effective_context_tokens"] == 8192
    used = told["prompt_tokens"] + told["completion_tokens"]
    assert told["context_utilization_pct"] == pytest.approx(100 * used / 8192, abs=0.01)
    assert told["runtime"]["memory"]["active_gb"] > 0
    # Positions, never words.
    assert "lake" not in json.dumps(told)
