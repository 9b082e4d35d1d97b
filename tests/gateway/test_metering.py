"""Requests under limits: what is refused, what is cut short, and what everybody is told of it."""

import asyncio
import re
from typing import Any

import pytest
from channels.db import database_sync_to_async

from accounts import ledger
from accounts.models import UsageRecord, User
from accounts.quotas.limiter import STEP
from accounts.quotas.rules import Scope
from accounts.quotas.verbs import do_set_quota
from gateway import runtime
from gateway.recovery import settle_former_life
from inference.engine.protocol import Accepted, Delta, Ended, Finished, FirstToken, Tally
from tests.gateway.local import LocalGateway, until
from tests.gateway.scripts import CHAT, answers, begins_and_waits, body, only, with_streams


async def limit(metric: str, window: str, limit: int, **more: Any) -> None:
    """For the one user of these tests."""

    def write() -> None:
        do_set_quota(metric=metric, window=window, limit=limit, user=User.objects.get(), acting_user=None, **more)

    await database_sync_to_async(write)()


async def used(gateway: LocalGateway, metric: str, window: str) -> float:
    [key] = await database_sync_to_async(lambda: list(User.objects.get().keys.all()))()
    standings = await runtime.current().limiter.standings(Scope(key.pk, key.user_id, None, "scripted"))
    [found] = [each for each in standings if (each.rule.metric, each.rule.window) == (metric, window)]
    return found.used


def talks(tokens: int, prompt: int = 7, at_once: int = 8) -> Any:
    """An engine that would say so many tokens, and stops when it is told to."""

    async def script(engine: Any, request: Any) -> Any:
        yield Accepted(request.id, prompt)
        yield FirstToken(request.id, 1.0, 3.0)
        said, most = 0, min(tokens, request.default_max_tokens if request.max_tokens is None else request.max_tokens)
        while said < most and not engine.cancelled[request.id].is_set():
            count = min(at_once, most - said)
            said += count
            yield Delta(request.id, "x" * count, count)
            await asyncio.sleep(0.002)
        reason = "cancelled" if engine.cancelled[request.id].is_set() else "stop" if said == tokens else "length"
        end = [] if reason == "cancelled" else [Ended(request.id, 0, reason)]
        yield [*end, Finished(request.id, reason, Tally(prompt_tokens=prompt, completion_tokens=said))]

    return script


# --- told ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [CHAT, "/v1/models"])
async def test_every_answer_to_a_key_has_numbers(gateway: LocalGateway, path: str) -> None:
    method, asked = ("POST", body()) if path == CHAT else ("GET", b"")
    async with gateway.engine(answers):
        answer = await gateway.ask(path, method=method, body=asked)
    for metric, most, gone in (("requests", 6_000, 1), ("tokens", 10_000_000, 4 + STEP)):
        taken = gone if path == CHAT else 0
        assert answer.headers[f"x-ratelimit-limit-{metric}"] == str(most)
        assert answer.headers[f"x-ratelimit-remaining-{metric}"] == str(most - taken)
        assert re.fullmatch(r"\d{1,2}\.\ds", answer.headers[f"x-ratelimit-reset-{metric}"])


async def test_without_a_key_there_are_no_numbers(gateway: LocalGateway) -> None:
    answer = await gateway.ask(CHAT, body=body(), headers={"authorization": "Bearer nobody"})
    assert answer.status == 401 and not [name for name in answer.headers if name.startswith("x-ratelimit")]


async def test_what_is_nearly_used_up_is_said(gateway: LocalGateway) -> None:
    await limit("requests", "day", 2, warn_percent=50)
    async with gateway.engine(answers):
        assert (await gateway.ask(CHAT, body=body())).headers["x-quota-warning"] == "requests/day 50%"
        assert (await gateway.ask(CHAT, body=body())).headers["x-quota-warning"] == "requests/day 100%"


# --- refused ---------------------------------------------------------------------------------------------------------


@with_streams
async def test_a_quota_that_is_used_up(gateway: LocalGateway, stream: bool) -> None:
    await limit("tokens", "day", 10)
    async with gateway.engine(answers) as engine:
        first = await gateway.ask(CHAT, body=body(stream=stream, max_tokens=3))
        assert first.status == 200
        answer = await gateway.ask(CHAT, body=body(stream=stream, max_tokens=3))
        assert len(engine.requests) == 1
    assert (answer.status, answer.error["type"], answer.error["code"]) == (
        429,
        "insufficient_quota",
        "insufficient_quota",
    )
    assert answer.headers["x-should-retry"] == "false" and "retry-after" not in answer.headers
    assert "0 of 10 tokens a day for user gwen are left" in answer.error["message"]
    assert answer.headers["x-ratelimit-remaining-tokens"]
    assert len(await gateway.ledger()) == 1, "what never ran is not in the ledger"


async def test_a_rate(gateway: LocalGateway) -> None:
    await limit("requests", "minute", 1)
    async with gateway.engine(answers):
        first = await gateway.ask(CHAT, body=body())
        assert (first.headers["x-ratelimit-limit-requests"], first.headers["x-ratelimit-remaining-requests"]) == (
            "1",
            "0",
        )
        answer = await gateway.ask(CHAT, body=body())
    assert (answer.status, answer.error["type"], answer.error["code"]) == (429, "requests", "rate_limit_exceeded")
    seconds = float(answer.headers["x-ratelimit-reset-requests"].removesuffix("s"))
    assert seconds <= float(answer.headers["retry-after-ms"]) / 1000 + 0.2 <= seconds + 1
    assert 0 < int(answer.headers["retry-after"]) <= 60


async def test_tokens_of_a_minute(gateway: LocalGateway) -> None:
    await limit("tokens", "minute", 3)
    async with gateway.engine(answers):
        answer = await gateway.ask(CHAT, body=body())
    assert (answer.status, answer.error["type"], answer.error["code"]) == (429, "tokens", "rate_limit_exceeded")


async def test_requests_at_once(gateway: LocalGateway) -> None:
    await limit("concurrency", "", 1)
    async with gateway.engine(begins_and_waits):
        async with gateway.exchange(CHAT, body=body(stream=True)) as running:
            await running.until(lambda: b"Hello" in running.body)
            answer = await gateway.ask(CHAT, body=body())
            assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (
                429,
                "rate_limit_exceeded",
                "1",
            )
        async with gateway.exchange(CHAT, body=body(stream=True)) as running:
            await running.until(lambda: b"Hello" in running.body)


async def test_a_prompt_that_is_longer_than_it_looked(gateway: LocalGateway) -> None:
    """Its true length is known before anything of it is computed."""
    await limit("tokens", "day", 500)
    async with gateway.engine(talks(5, prompt=600)) as engine:
        answer = await gateway.ask(CHAT, body=body(max_tokens=5))
        await until(lambda: engine.cancelled[engine.requests[0].id].is_set())
    assert (answer.status, answer.error["code"]) == (429, "insufficient_quota")
    await only(gateway, outcome="refused", prompt_tokens=0, completion_tokens=0)
    assert await used(gateway, "tokens", "day") == 0


async def test_gpu_seconds(gateway: LocalGateway) -> None:
    await limit("gpu_seconds", "total", 1)
    async with gateway.engine(answers):
        statuses = [(await gateway.ask(CHAT, body=body())).status for _ in range(4)]
    assert statuses == [200, 200, 429, 429], "each took half a second"


# --- cut short -------------------------------------------------------------------------------------------------------


@with_streams
async def test_an_answer_ends_where_the_tokens_do(gateway: LocalGateway, stream: bool) -> None:
    await limit("tokens", "day", 107)
    async with gateway.engine(talks(1000)) as engine:
        answer = await gateway.ask(CHAT, body=body(stream=stream))
        assert engine.requests[0].default_max_tokens == 107 - 4, "by the estimate of the prompt"
    assert answer.status == 200 and b'"finish_reason":"length"' in answer.body.replace(b": ", b":")
    row = await only(gateway, outcome="length", prompt_tokens=7)
    assert 100 <= row["completion_tokens"] <= 103, "the prompt was three tokens longer than it looked"
    assert await used(gateway, "tokens", "day") == 7 + row["completion_tokens"]


@with_streams
@pytest.mark.parametrize("n", [1, 2])
async def test_a_long_answer_grows_until_there_is_no_more(gateway: LocalGateway, stream: bool, n: int) -> None:
    most = 3 * STEP + 100
    await limit("tokens", "week", most)
    async with gateway.engine(talks(5000)) as engine:
        answer = await gateway.ask(CHAT, body=body(stream=stream, n=n))
        assert engine.cancelled[engine.requests[0].id].is_set()
    assert answer.status == 200
    said = answer.body.replace(b": ", b":")
    assert said.count(b'"finish_reason":"length"') == n and b"cancelled" not in said
    row = await only(gateway, outcome="length", prompt_tokens=7)
    assert most - 7 <= row["completion_tokens"] <= most - 7 + 64, "what was under way when it was told"
    assert await used(gateway, "tokens", "week") == row["prompt_tokens"] + row["completion_tokens"]


async def test_no_more_is_held_than_is_asked_for(gateway: LocalGateway) -> None:
    await limit("tokens", "day", 10_000)
    async with gateway.engine(begins_and_waits):
        async with gateway.exchange(CHAT, body=body(stream=True, max_tokens=9)) as running:
            await running.until(lambda: b"Hello" in running.body)
            assert await used(gateway, "tokens", "day") == 7 + 9
        await asyncio.sleep(0.1)
        assert await used(gateway, "tokens", "day") == 7 + 3, "as the engine's tally says"


# --- /v1/key ---------------------------------------------------------------------------------------------------------


async def test_a_key_asks_about_itself(gateway: LocalGateway) -> None:
    await limit("tokens", "day", 1000)
    await limit("concurrency", "", 4)
    await limit("requests", "total", 9, model="scripted")
    async with gateway.engine(answers):
        await gateway.ask(CHAT, body=body())
        mine = (await gateway.ask("/v1/key", method="GET")).json
        for_model = (await gateway.ask("/v1/key", method="GET", query_string=b"model=alias")).json
        assert (await gateway.ask("/v1/key", method="GET", query_string=b"model=nothing")).status == 404
    assert (mine["object"], mine["user"], mine["team"], mine["models"]) == ("key", "gwen", None, ["scripted"])
    assert gateway.key.startswith(mine["id"]) and len(mine["id"]) < 20
    found = {(each["metric"], each["window"]): each for each in mine["limits"]}
    assert set(found) == {("tokens", "day"), ("concurrency", None), ("requests", "minute"), ("tokens", "minute")}
    day = found["tokens", "day"]
    assert (day["limit"], day["used"], day["remaining"], day["soft"]) == (1000, 10, 990, False)
    assert day["subject"] == "user gwen" and day["resets_at"].endswith("Z")
    assert (found["concurrency", None]["used"], found["concurrency", None]["resets_at"]) == (0, None)
    [theirs] = [each for each in for_model["limits"] if each["window"] == "total"]
    assert (theirs["used"], theirs["subject"], theirs["resets_at"]) == (1, "user gwen, model scripted", None)


# --- when something fails --------------------------------------------------------------------------------------------


async def test_counters_that_can_not_be_reached(gateway: LocalGateway, settings: Any) -> None:
    """A request is refused, not let in; what asks for nothing is answered, without numbers."""
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    await runtime.current().close()
    async with gateway.engine(answers) as engine:
        answer = await gateway.ask(CHAT, body=body())
        models = await gateway.ask("/v1/models", method="GET")
        assert not engine.requests
    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "server_is_overloaded", "1")
    assert models.status == 200 and "x-ratelimit-limit-requests" not in models.headers
    assert await gateway.ledger() == []


async def test_a_row_that_somebody_else_closed_holds_nothing(gateway: LocalGateway) -> None:
    await limit("tokens", "day", 10_000)
    async with gateway.engine(begins_and_waits):
        async with gateway.exchange(CHAT, body=body(stream=True)) as running:
            await running.until(lambda: b"Hello" in running.body)
            [row] = await gateway.ledger()
            assert await database_sync_to_async(ledger.interrupt)(row["request_id"])
        await asyncio.sleep(0.2)
        assert await used(gateway, "tokens", "day") == 0, "as the ledger says"


async def test_what_a_former_life_used_is_known_before_anybody_is_let_in(gateway: LocalGateway) -> None:
    """Its counters were in memory, and its rows are still open."""
    await limit("tokens", "day", 100)
    async with gateway.engine(answers) as engine:
        async with gateway.exchange(CHAT, body=body(stream=True, max_tokens=3)) as first:
            await first.until(lambda: b"[DONE]" in first.body)
        [row] = await gateway.ledger()
        await database_sync_to_async(_reopen)(row["request_id"])
        engine.remembered[row["request_id"]] = Tally(prompt_tokens=90, completion_tokens=10)
        await runtime.current().close()
        life = runtime.start(row["gateway"])
        left = await database_sync_to_async(ledger.running_of)(row["gateway"])
        life.recovered.clear()
        asking = asyncio.create_task(gateway.ask(CHAT, body=body(max_tokens=3)))
        await asyncio.sleep(0.1)
        assert not asking.done() and len(engine.requests) == 1
        await settle_former_life(life, left)
        life.recovered.set()
        answer = await asking
    assert (answer.status, answer.error["code"]) == (429, "insufficient_quota")
    assert "0 of 100 tokens a day" in answer.error["message"]


def _reopen(request_id: str) -> None:
    """As a gateway leaves it that dies."""
    UsageRecord.objects.filter(request_id=request_id).update(state="running", outcome="", ended_at=None)
