"""When clients are told to come back."""

from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.conf import settings

from gateway import runtime
from inference.client import link
from inference.engine.protocol import Failed
from inference.models import Engine
from tests.gateway.local import LocalGateway, until
from tests.gateway.scripts import CHAT, answers, body, never_hears, with_streams


@with_streams
@pytest.mark.parametrize(
    ("seconds", "after", "after_ms", "retry"),
    [(None, "1", "1000", None), (0.25, "1", "250", None), (7.2, "8", "7200", None), (60.0, "60", "60000", None),
     (60.5, "61", "60500", "false"), (600.0, "600", "600000", "false")],
)  # fmt: skip
async def test_a_full_queue_says_when_it_has_room(
    gateway: LocalGateway, stream: bool, seconds: float | None, after: str, after_ms: str, retry: str | None
) -> None:
    async def refuse(engine: Any, request: Any) -> Any:
        yield Failed(request.id, "server_is_overloaded", "Full.", retry_after=seconds)

    async with gateway.engine(refuse):
        answer = await gateway.ask(CHAT, body=body(stream=stream))
    assert (answer.status, answer.error["code"]) == (503, "server_is_overloaded")
    assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == (after, after_ms)
    # openai-python 1.x takes more than a minute for nothing, and would be back at once.
    assert answer.headers.get("x-should-retry") == retry


async def test_a_loading_model_says_how_long_that_took_before(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real limit, only shorter: nobody waits for the whole of it here.
    monkeypatch.setattr(settings, "ENGINE_WAIT_SECONDS", 0.1)
    now = 1000.0
    # The real clock would have to be waited for, minutes of it.
    monkeypatch.setattr(link, "monotonic", lambda: now)

    async def hint() -> float:
        answer = await gateway.ask(CHAT, body=body())
        assert (answer.status, answer.error["code"]) == (503, "model_loading")
        assert answer.headers.get("x-should-retry") == (
            "false" if float(answer.headers["retry-after-ms"]) > 60_000 else None
        )
        return float(answer.headers["retry-after-ms"]) / 1000

    assert await hint() == link.SOONEST_SECONDS, "nothing is known yet"
    now += 12
    assert await hint() == 12, "as long again as it is away"
    now += 18
    async with gateway.engine(answers) as engine:
        await until(gateway.is_ready)
        now += 3600
        engine.die()
        endpoint = gateway.endpoint
        await until(lambda: runtime.current().engines.stats(endpoint) is None)
        assert await hint() == 30, "as it took the first time"
        now += 20
        assert await hint() == 10
        now += 80
        assert await hint() == 100, "longer than the first time"


async def test_a_model_that_could_not_be_loaded_is_not_said_to_be_loading(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "ENGINE_WAIT_SECONDS", 0.1)

    await database_sync_to_async(Engine.objects.update)(state=Engine.State.FAILED)
    for path, asked in ((CHAT, body()), ("/v1/messages/count_tokens", body())):
        answer = await gateway.ask(path, body=asked)
        assert answer.status == 503 and "could not be loaded" in answer.json["error"]["message"]


async def test_an_engine_that_died_is_not_expected_before_it_is_missed(gateway: LocalGateway) -> None:
    async with gateway.engine(never_hears):
        await until(gateway.is_ready)
        assert runtime.current().engines.expected_in(gateway.endpoint) == link.SOONEST_SECONDS
