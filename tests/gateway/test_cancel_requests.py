"""Cancelling one's own running requests: here, on another gateway, and just when they end."""

import asyncio
import json
from functools import partial
from typing import Any

import pytest
from channels.db import database_sync_to_async

from accounts.events import Hub, publish
from accounts.ledger import open_record, running_of_user
from accounts.models import ApiKey, UsageRecord
from accounts.services import do_create_user, do_issue_key
from gateway import cancelling, runtime
from tests.gateway.bodies import principal
from tests.gateway.local import LocalGateway, until
from tests.gateway.scripts import CHAT, TALLY, answers, begins_and_waits, body, never_begins, only, with_streams


async def cancel(gateway: LocalGateway, id: str, **options: Any) -> Any:
    return await gateway.ask(f"/v1/requests/{id}", method="DELETE", **options)


def key_of_another_user() -> str:
    return do_issue_key(do_create_user("eve", acting_user=None, password=None), note="", acting_user=None).raw


async def test_a_stream_that_is_cancelled_says_so_and_is_charged(gateway: LocalGateway) -> None:
    async with (
        gateway.engine(begins_and_waits) as engine,
        gateway.exchange(CHAT, body=body(stream=True)) as exchange,
    ):
        await exchange.until(lambda: b"Hello" in exchange.body)
        answer = await cancel(gateway, exchange.headers["x-request-id"])
        # Settled by the time that it is answered, with the engine's own count.
        await only(gateway, outcome="cancelled", prompt_tokens=7, completion_tokens=TALLY.completion_tokens)
        assert engine.cancelled[engine.requests[0].id].is_set()
        await exchange.finish()
    assert (answer.status, answer.json["status"]) == (200, "cancelled")
    assert exchange.events[-1]["error"]["code"] == "request_cancelled"
    assert b"[DONE]" not in exchange.body


async def test_an_answer_that_is_cancelled_is_an_error_that_nobody_retries(gateway: LocalGateway) -> None:
    async with (
        gateway.engine(begins_and_waits) as engine,
        gateway.exchange(CHAT, body=body(), headers={"x-request-id": "mine-1"}) as exchange,
    ):
        await until(lambda: engine.said == 3)
        assert (await cancel(gateway, "mine-1")).status == 200
        await exchange.finish()
    assert (exchange.status, exchange.error["code"]) == (499, "request_cancelled")
    assert exchange.headers["x-should-retry"] == "false"
    await only(gateway, outcome="cancelled")


@pytest.mark.parametrize("chosen", [{}, {"x-request-id": "chat-7_b"}])
async def test_the_answers_id_will_do_as_well(gateway: LocalGateway, chosen: dict[str, str]) -> None:
    async with (
        gateway.engine(begins_and_waits),
        gateway.exchange(CHAT, body=body(stream=True), headers=chosen) as exchange,
    ):
        await exchange.until(lambda: b"Hello" in exchange.body)
        id = json.loads(exchange.chunks[0].split(b"\n")[0].removeprefix(b"data: "))["id"]
        assert id.startswith("chatcmpl-")
        assert (await cancel(gateway, id)).status == 200
        await exchange.finish()
    await only(gateway, outcome="cancelled")


async def test_a_waiting_request_can_be_cancelled(gateway: LocalGateway) -> None:
    async with (
        gateway.engine(never_begins) as engine,
        gateway.exchange(CHAT, body=body(stream=True), headers={"x-request-id": "queued"}) as exchange,
    ):
        await until(lambda: engine.said == 2)
        assert (await cancel(gateway, "queued")).status == 200
        await exchange.finish()
    assert (exchange.status, exchange.error["code"]) == (499, "request_cancelled")
    await only(gateway, outcome="cancelled", completion_tokens=0)


async def test_others_and_unknown_ones_are_the_same_404(gateway: LocalGateway) -> None:
    stranger = await database_sync_to_async(key_of_another_user)()
    async with gateway.engine(begins_and_waits), gateway.exchange(CHAT, body=body(stream=True)) as exchange:
        await exchange.until(lambda: b"Hello" in exchange.body)
        id = exchange.headers["x-request-id"]
        theirs = await cancel(gateway, id, headers={"authorization": f"Bearer {stranger}"})
        unknown = await cancel(gateway, "req_" + "0" * 32)
        assert theirs.status == unknown.status == 404
        assert theirs.error == {**unknown.error, "message": unknown.error["message"].replace("req_" + "0" * 32, id)}
        assert not exchange.complete
        assert (await cancel(gateway, id)).status == 200
        await exchange.finish()
        # It has ended: there is nothing to cancel any more.
        assert (await cancel(gateway, id)).status == 404


@pytest.mark.parametrize("id", ["%00", "\x00", "a b", "é", "x" * 5000, "'; drop table"])
async def test_ids_that_can_not_be_are_404(gateway: LocalGateway, id: str) -> None:
    answer = await cancel(gateway, id)
    assert (answer.status, answer.error["code"]) == (404, "request_not_found")


async def test_it_needs_a_key_and_delete(gateway: LocalGateway) -> None:
    assert (await cancel(gateway, "x", headers={"authorization": "Bearer no"})).status == 401
    wrong = await gateway.ask("/v1/requests/x", method="POST")
    assert (wrong.status, wrong.headers["allow"]) == (405, "DELETE, OPTIONS")


@with_streams
async def test_cancelling_what_is_just_ending_is_one_or_the_other(gateway: LocalGateway, stream: bool) -> None:
    """Whichever comes first: the client's answer, the owner's and the ledger's agree."""
    async with gateway.engine(answers):
        await gateway.ask(CHAT, body=body())
        for turn in range(25):
            name = f"race-{stream}-{turn}"
            async with gateway.exchange(CHAT, body=body(stream=stream), headers={"x-request-id": name}) as exchange:
                for _ in range(turn * 8):
                    await asyncio.sleep(0)
                cancelled = (await cancel(gateway, name)).status
                await exchange.finish()
            row = (await gateway.ledger())[-1]
            if cancelled == 200:
                assert row["outcome"] == "cancelled", turn
                assert b"request_cancelled" in exchange.body
            else:
                # 404 before it was one's generation, or after it had ended.
                assert cancelled == 404 and exchange.status == 200, turn
                assert b"request_cancelled" not in exchange.body


async def test_a_gateway_cancels_what_another_was_asked_for(gateway: LocalGateway) -> None:
    with Hub():
        async with gateway.engine(begins_and_waits), gateway.exchange(CHAT, body=body(stream=True)) as exchange:
            await exchange.until(lambda: b"Hello" in exchange.body)
            [row] = await gateway.ledger()

            async def told() -> bool:
                await asyncio.to_thread(
                    publish, runtime.CANCEL, id=row["request_id"], owner=row["user_id"] + 1
                )  # not theirs
                await asyncio.to_thread(publish, runtime.CANCEL, id=row["request_id"], owner=row["user_id"])
                return exchange.complete

            await until(told)
            await exchange.finish()
    await only(gateway, outcome="cancelled")


async def test_the_ledger_tells_how_another_gateway_fared(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(name: str) -> int:
        key = ApiKey.objects.get()
        who = principal(user_id=key.user_id, key_id=key.pk)
        open_record(
            request_id=name, principal=who, model="m", endpoint="e", stream=False, gateway="other",
            estimated_prompt_tokens=1,
        )  # fmt: skip
        return key.user_id

    def ends(name: str, outcome: str) -> None:
        UsageRecord.objects.filter(request_id=name).update(state="settled", outcome=outcome, ended_at="2026-01-01T00Z")

    for name, outcome, status in (("a.1", "cancelled", 200), ("b.1", "stop", 404)):
        owner = await database_sync_to_async(opened)(name)
        assert await database_sync_to_async(running_of_user)(owner, name[0]) == [name]
        told = asyncio.Event()
        tell = partial(asyncio.get_running_loop().call_soon_threadsafe, told.set)
        # The other gateway, as far as it is needed here: it hears of it, and then the request ends.
        monkeypatch.setattr(cancelling, "publish", lambda *_, tell=tell, **__: tell())
        asked = asyncio.ensure_future(cancel(gateway, name[0]))
        await told.wait()
        await database_sync_to_async(ends)(name, outcome)
        assert (await asked).status == status

    # The real limit, only shorter: nobody waits for the whole of it here.
    monkeypatch.setattr(cancelling, "PATIENCE_SECONDS", 0.1)
    await database_sync_to_async(opened)("c.1")
    silent = await cancel(gateway, "c")
    assert (silent.status, silent.error["code"]) == (503, "gateway_silent")
    assert int(silent.headers["retry-after"]) > 0


def test_an_id_means_no_other_request(db: None) -> None:
    user = do_create_user("amy", acting_user=None, password=None)
    who = principal(user_id=user.pk, key_id=do_issue_key(user, note="", acting_user=None).row.pk)
    for name in ("req_ab", "mine.0f", "mine-1.0f", "minestrone.0f"):
        open_record(
            request_id=name, principal=who, model="m", endpoint="e", stream=False, gateway="g",
            estimated_prompt_tokens=1,
        )  # fmt: skip
    assert running_of_user(user.pk, "req_ab") == ["req_ab"]
    assert running_of_user(user.pk, "chatcmpl-ab") == ["req_ab"]
    assert running_of_user(user.pk, "resp_ab") == ["req_ab"]
    assert running_of_user(user.pk, "mine") == ["mine.0f"]
    assert running_of_user(user.pk, "chatcmpl-mine-1.0f") == ["mine-1.0f"]
    assert running_of_user(user.pk, "min") == running_of_user(user.pk + 1, "mine") == []
