"""GET /v1/capabilities: every field, and true."""

from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.conf import settings

from gateway import capabilities
from inference.engine.protocol import Ready, Stats, Traits
from inference.models import Deployment
from tests.gateway.local import LocalGateway, until
from tests.gateway.scripts import answers
from tests.support.server import Server

PATH = "/v1/capabilities"
FIELDS = {
    "modalities": {"text", "image", "video", "audio_input", "audio_output"},
    "features": {
        "streaming", "tool_calling", "auto_tool_choice", "structured_output", "reasoning", "reasoning_configured",
        "prefix_caching",
        "embeddings", "rerank", "transcription", "speech", "anthropic_messages", "responses", "files", "batches", "mcp",
        "request_diagnostics", "request_cancellation", "strict_model_id", "strict_parameters",
    },
    "policies": {"repetition"},
    "diagnostics": {"enabled", "levels", "default_level", "deep_supported"},
    "auth": {"api_key_required", "accepted_headers"},
    "rate_limit": {"enabled", "requests_per_minute"},
    "limits": {
        "default_max_tokens", "default_timeout_seconds", "max_context_tokens", "effective_context_tokens",
        "effective_context_source",
    },
    "model_traits": {
        "model_type", "architecture_type", "max_position_embeddings", "batching", "batching_reason",
        "is_vlm", "has_chat_template", "known_issues",
        "triage_available", "triage_status", "triage_version", "has_thinking_tokens", "reasoning_mechanism",
        "triage_error",
    },
}  # fmt: skip
"""Of api-contract.md and of the operator guide's server."""


@pytest.fixture
def speaks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Tells scripted engines what to say of themselves."""

    def tell(**said: Any) -> None:
        def ready(engine: Any) -> Ready:
            known = {"context_length": 4096, "pid": 1, "has_chat_template": True, **said}
            return Ready(instance=engine._instance, model="scripted", **known)

        monkeypatch.setattr("tests.gateway.scripted_engine.ScriptedEngine._ready", ready)

    return tell


async def read(gateway: LocalGateway, query: bytes = b"") -> Any:
    answer = await gateway.ask(PATH, method="GET", query_string=query)
    assert answer.status == 200, answer.body
    return answer.json


def test_the_built_in_model(server: Server) -> None:
    with server.client() as http:
        said = http.get(PATH).json()
        models = http.get("/v1/models").json()["data"]
    assert {name: set(said[name]) for name in FIELDS} == FIELDS
    assert set(said) == {*FIELDS, "object", "model_loaded", "model_name", "model_type"}
    assert set(said["policies"]["repetition"]) == {"default_mode", "supported_modes", "request_override"}
    assert (said["object"], said["model_loaded"], said["model_name"]) == ("capabilities", True, "atelier-tiny")
    assert said["model_type"] == "llm" and said["modalities"]["text"] and not said["modalities"]["image"]
    for able in ("streaming", "tool_calling", "structured_output", "reasoning", "request_diagnostics"):
        assert said["features"][able] is True, able
    assert said["limits"]["max_context_tokens"] == said["limits"]["effective_context_tokens"] == 8192
    assert models[0]["context_length"] == 8192
    assert said["limits"]["effective_context_source"] == "model_config"
    assert said["model_traits"]["architecture_type"] == "Qwen3ForCausalLM"
    assert said["model_traits"]["reasoning_mechanism"] == "think"
    assert said["rate_limit"] == {"enabled": True, "requests_per_minute": settings.KEY_REQUESTS_PER_MINUTE}


async def test_it_needs_a_key(gateway: LocalGateway) -> None:
    assert (await gateway.ask(PATH, method="GET", headers={"authorization": "Bearer no"})).status == 401
    assert (await gateway.ask(PATH)).status == 405


async def test_options_are_those_that_the_engine_runs_with(gateway: LocalGateway, speaks: Any) -> None:
    speaks(
        traits=Traits(positions=4096),
        options={"effective_context_tokens": 1000, "timeout": 7.5, "max_tokens": 99, "repetition_policy": "strict"},
    )
    async with gateway.engine(answers):
        said = await read(gateway)
    assert said["limits"] == {
        "default_max_tokens": 99, "default_timeout_seconds": 7.5, "max_context_tokens": 4096,
        "effective_context_tokens": 1000, "effective_context_source": "operator_override",
    }  # fmt: skip
    assert said["policies"]["repetition"] == {
        "default_mode": "strict", "supported_modes": ["safe", "strict", "off"], "request_override": "disabled",
    }  # fmt: skip


async def test_without_options_limits_are_the_servers(gateway: LocalGateway, speaks: Any) -> None:
    speaks()
    async with gateway.engine(answers):
        limits = (await read(gateway))["limits"]
    assert limits["default_max_tokens"] == settings.DEFAULT_MAX_TOKENS
    assert limits["default_timeout_seconds"] == settings.REQUEST_TIMEOUT_SECONDS
    assert (limits["max_context_tokens"], limits["effective_context_tokens"]) == (None, 4096)


@pytest.mark.parametrize(
    ("positions", "share", "options", "effective", "source"),
    [
        (4096, 1.0, {"effective_context_tokens": 9999}, 4096, "model_config"),
        (9999, 1.0, {}, 4096, "memory"),
        (9999, 1.0, {"effective_context_tokens": 4000}, 4000, "operator_override"),
        (4096, 0.5, {"effective_context_tokens": 1000}, 500, "memory"),
        (4096, 0.5, {}, 2048, "memory"),
    ],
)
async def test_what_decides_the_context(
    gateway: LocalGateway, speaks: Any, positions: int, share: float, options: Any, effective: int, source: str
) -> None:
    speaks(traits=Traits(positions=positions), options=options)
    stats = Stats(steps=0, running=0, waiting=0, memory={"context_share": share})
    async with gateway.engine(answers, stats=stats) as engine:
        await until(gateway.is_ready)
        await until(lambda: engine.said >= 2)
        await read(gateway)
        limits = (await read(gateway))["limits"]
    assert (limits["max_context_tokens"], limits["effective_context_tokens"]) == (positions, effective)
    assert limits["effective_context_source"] == source


async def test_a_model_that_can_do_little_says_so(gateway: LocalGateway, speaks: Any) -> None:
    speaks(has_chat_template=False)
    async with gateway.engine(answers):
        said = await read(gateway)
    assert not any(said["features"][name] for name in ("tool_calling", "auto_tool_choice", "reasoning"))
    assert said["model_traits"]["has_chat_template"] is False
    assert said["model_traits"]["has_thinking_tokens"] is False
    assert said["model_traits"]["model_type"] is None


async def test_without_its_engine_a_model_is_unknown_and_not_incapable(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real limit, only shorter: nobody waits for the whole of it here.
    monkeypatch.setattr(capabilities, "PATIENCE_SECONDS", 0.05)
    said = await read(gateway)
    assert (said["model_loaded"], said["model_name"]) == (False, "scripted")
    assert said["limits"]["effective_context_tokens"] is None and said["model_traits"]["has_thinking_tokens"] is None
    assert said["features"]["structured_output"] is False and said["features"]["streaming"] is True
    await database_sync_to_async(lambda: Deployment.objects.all().delete())()
    await gateway.ask("/v1/models", method="GET")
    await until(lambda: not_served(gateway))


async def not_served(gateway: LocalGateway) -> bool:
    said = await read(gateway)
    return said["model_name"] is None and said["model_type"] is None and not said["modalities"]["text"]


async def test_settings_and_the_named_model(gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway.engine(answers):
        assert (await read(gateway, b"model=alias"))["model_name"] == "scripted"
        missing = await gateway.ask(PATH, method="GET", query_string=b"model=nope%FF")
        assert (missing.status, missing.error["code"]) == (404, "model_not_found")
        assert (await read(gateway))["features"]["strict_model_id"] is False
        monkeypatch.setattr(settings, "STRICT_MODEL_ID", True)
        monkeypatch.setattr(settings, "STRICT_PARAMETERS", True)
        features = (await read(gateway))["features"]
        assert features["strict_model_id"] is features["strict_parameters"] is True
