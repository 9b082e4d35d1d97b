"""What runs now, as administrators see it on any gateway, and cancel it."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest
from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from accounts.events import Hub, publish
from accounts.ledger import open_record
from accounts.models import ApiKey, AuditEvent, Team, UsageRecord, User
from accounts.services import do_add_member, do_create_team, do_create_user, do_issue_key
from console import requests
from gateway import cancelling
from gateway.context import RequestContext
from gateway.roster import ASKED, TOLD, Roster
from inference.engine.protocol import Accepted, Begun, Delta, Finished, FirstToken
from tests.gateway.asgi_driver import Exchange
from tests.gateway.local import LocalGateway, until
from tests.gateway.scripts import CHAT, TALLY, begins_and_waits, body, only
from tests.gateway.test_requests import principal

PAGE, ROWS, CANCEL = (reverse(f"console-{name}") for name in ("requests", "request-rows", "cancel"))
SECRET = "the prompt's secret"
TOKEN = "a" * 32


def signed_in(*permissions: str, is_admin: bool = False) -> str:
    """The cookies of a browser."""
    user = do_create_user(f"staff-{len(permissions)}-{is_admin}", password=None, is_admin=is_admin, acting_user=None)
    User.objects.filter(pk=user.pk).update(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    return f"{settings.SESSION_COOKIE_NAME}={session}; {settings.CSRF_COOKIE_NAME}={TOKEN}"


async def cookie_of(*permissions: str, **options: bool) -> str:
    made: str = await database_sync_to_async(signed_in)(*permissions, **options)
    return made


async def look(gateway: LocalGateway, path: str, cookie: str) -> Exchange:
    return await gateway.ask(path, method="GET", headers={"cookie": cookie})


async def post(gateway: LocalGateway, cookie: str, token: str = TOKEN, **fields: str) -> Exchange:
    given = urlencode({**fields, "csrfmiddlewaretoken": token}).encode()
    headers = {"cookie": cookie, "content-type": "application/x-www-form-urlencoded"}
    return await gateway.ask(CANCEL, body=given, headers=headers)


async def told(gateway: LocalGateway, cookie: str, posted: Exchange) -> str:
    """The page that a browser goes on to, with what it was told."""
    messages = posted.headers["set-cookie"].partition(";")[0]
    return (await look(gateway, PAGE, f"{cookie}; {messages}")).body.decode()


def cells(answer: Exchange) -> list[list[str]]:
    """The text of each row's cells."""
    rows = re.findall(r"<tr>(.*?)</tr>", answer.body.decode().partition("<tbody>")[2], re.S)
    each = [re.findall(r"<td.*?>(.*?)</td>", row, re.S) for row in rows]
    return [[" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in row] for row in each]


async def step_by_step(engine: Any, request: Any) -> AsyncIterator[Any]:
    """As far as the test lets it: `engine.cancelled` of an id ends it."""
    yield Accepted(request.id, 7)
    await engine.may_begin.wait()
    yield Begun(request.id)
    await engine.may_answer.wait()
    yield [FirstToken(request.id, 1.0, 3.0), Delta(request.id, "Hel", 1), Delta(request.id, "lo", 1)]
    await engine.cancelled[request.id].wait()
    yield Finished(request.id, "cancelled", TALLY)


def in_a_team() -> str:
    user = User.objects.get(username="gwen")
    team = do_create_team("<i>Vision</i>", acting_user=None)
    do_add_member(team, user, acting_user=None)
    return do_issue_key(user, team=team, note="", acting_user=None).raw


async def test_who_runs_what_and_how_far_it_is(gateway: LocalGateway) -> None:
    cookie, key = await cookie_of("view_usagerecord"), await database_sync_to_async(in_a_team)()
    prompt = body(stream=True, messages=[{"role": "user", "content": SECRET}])
    async with gateway.engine(step_by_step) as engine:
        engine.may_begin, engine.may_answer = asyncio.Event(), asyncio.Event()
        headers = {"authorization": f"Bearer {key}"}
        async with gateway.exchange(CHAT, body=prompt, headers=headers):

            async def shows(state: str) -> bool:
                answer = await look(gateway, ROWS, cookie)
                assert answer.status == 200 and SECRET not in answer.body.decode()
                return [row[0] for row in cells(answer)] == [state]

            await until(lambda: engine.said == 2)
            await until(lambda: shows("queued"))
            engine.may_begin.set()
            await until(lambda: shows("prefilling"))
            engine.may_answer.set()
            await until(lambda: shows("decoding"))
            [row] = cells(await look(gateway, ROWS, cookie))
            assert row[:5] == ["decoding", "gwen &lt;i&gt;Vision&lt;/i&gt;", f"{key[:15]}…", "scripted",
                               "chat.completions stream"]  # fmt: skip
            assert row[6:] == ["7", "2", "api"], "prompt, tokens and class; nobody who may not cancel sees a button"
            page = await look(gateway, PAGE, cookie)
            assert page.status == 200 and "Live requests" in page.body.decode() and SECRET not in page.body.decode()
    assert "Nothing runs." in (await look(gateway, ROWS, cookie)).body.decode()


async def test_an_administrator_cancels_one(gateway: LocalGateway) -> None:
    cookie = await cookie_of(is_admin=True)
    async with gateway.engine(begins_and_waits), gateway.exchange(CHAT, body=body(stream=True)) as exchange:
        await exchange.until(lambda: b"Hello" in exchange.body)
        [running] = await gateway.ledger()
        answer = await post(gateway, cookie, record=running["request_id"])
        assert (answer.status, answer.headers["location"]) == (302, PAGE)
        # The ledger has it by then, with the engine's own count.
        await only(gateway, outcome="cancelled", completion_tokens=TALLY.completion_tokens)
        await exchange.finish()
    assert exchange.events[-1]["error"]["code"] == "request_cancelled"
    assert "administrator" in exchange.events[-1]["error"]["message"]
    assert b"[DONE]" not in exchange.body
    event = await database_sync_to_async(AuditEvent.objects.get)(action="request.cancelled")
    assert (event.actor_name, event.target_label) == ("staff-0-True", running["request_id"])
    assert event.before["user"] == "gwen" and event.before["model"] == "scripted"
    assert "1 request cancelled." in await told(gateway, cookie, answer)


async def test_an_answer_that_has_not_begun_is_an_error(gateway: LocalGateway) -> None:
    cookie = await cookie_of(is_admin=True)
    async with gateway.engine(begins_and_waits) as engine, gateway.exchange(CHAT, body=body()) as exchange:
        await until(lambda: engine.said == 3)
        [running] = await gateway.ledger()
        await post(gateway, cookie, record=running["request_id"])
        await exchange.finish()
    assert (exchange.status, exchange.error["code"]) == (499, "request_cancelled")
    assert exchange.headers["x-should-retry"] == "false"


async def test_all_of_a_user_and_nobody_elses(gateway: LocalGateway) -> None:
    cookie = await cookie_of("view_usagerecord", "change_usagerecord")
    eve = await database_sync_to_async(
        lambda: do_issue_key(do_create_user("eve", password=None, acting_user=None), note="", acting_user=None).raw
    )()
    async with (
        gateway.engine(begins_and_waits) as engine,
        gateway.exchange(CHAT, body=body(stream=True)) as first,
        gateway.exchange(CHAT, body=body(stream=True), headers={"x-request-id": "mine"}) as second,
        gateway.exchange(CHAT, body=body(stream=True), headers={"authorization": f"Bearer {eve}"}) as other,
    ):
        await until(lambda: len(engine.requests) == 3)
        page = (await look(gateway, PAGE, cookie)).body.decode()
        assert page.count(">Cancel all<") == 2 and page.count('name="record"') == 3
        await post(gateway, cookie, user="gwen")
        await first.finish()
        await second.finish()
        assert not other.complete
        rows = {row["username"]: row["outcome"] for row in await gateway.ledger()}
        assert rows == {"gwen": "cancelled", "eve": ""}
    assert await database_sync_to_async(AuditEvent.objects.filter(action="request.cancelled").count)() == 2


@pytest.mark.parametrize(
    "fields",
    [{}, {"record": "no-such"}, {"record": "\x00"}, {"record": "x" * 5000}, {"user": "\x00"}, {"user": "nobody"},
     {"user": "'; drop table accounts_usagerecord; --"}, {"record": "<b>"}],
)  # fmt: skip
async def test_what_does_not_run_can_not_be_cancelled(gateway: LocalGateway, fields: dict[str, str]) -> None:
    cookie = await cookie_of(is_admin=True)
    answer = await post(gateway, cookie, **fields)
    assert answer.status == 302
    assert "has ended already" in await told(gateway, cookie, answer)
    assert not await database_sync_to_async(AuditEvent.objects.filter(action="request.cancelled").exists)()


async def test_who_may(gateway: LocalGateway) -> None:
    reader, nobody, boss = await cookie_of("view_usagerecord"), await cookie_of(), await cookie_of(is_admin=True)
    async with gateway.engine(begins_and_waits), gateway.exchange(CHAT, body=body(stream=True)) as exchange:
        await exchange.until(lambda: b"Hello" in exchange.body)
        [running] = await gateway.ledger()
        for path in (PAGE, ROWS):
            assert (await look(gateway, path, nobody)).status == 403
            assert (await look(gateway, path, "")).status == 302
            assert (await gateway.ask(path, body=b"", headers={"cookie": boss})).status in (403, 405)
        for cookie in (reader, nobody):
            assert (await post(gateway, cookie, record=running["request_id"])).status == 403
        assert (await post(gateway, boss, token="b" * 32, record=running["request_id"])).status == 403, "without CSRF"
        assert (await look(gateway, CANCEL, boss)).status == 405
        assert not exchange.complete
    # An API key opens no page.
    assert (await gateway.ask(ROWS, method="GET")).status == 302


# --- Other gateways ------------------------------------------------------------------------------------------------


def opened(gateway: str, request_id: str) -> None:
    key = ApiKey.objects.get()
    open_record(
        request_id=request_id, principal=principal(user_id=key.user_id, key_id=key.pk), model="m", endpoint="e",
        stream=False, gateway=gateway, estimated_prompt_tokens=3,
    )  # fmt: skip


async def test_what_another_gateway_works_on(gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    cookie = await cookie_of(is_admin=True)
    await database_sync_to_async(opened)("other", "theirs.1")
    await database_sync_to_async(opened)("other", "theirs.2")
    with Hub():
        # A second gateway's, which works on one of its two rows, and is just settling the other.
        theirs = RequestContext("theirs", "theirs.1", prompt_tokens=12, completion_tokens=4, priority="batch")
        other = Roster("other", lambda: [theirs])
        watching = asyncio.ensure_future(other.watch())
        try:

            async def is_told() -> bool:
                rows = cells(await look(gateway, ROWS, cookie))
                return [(row[0], *row[6:9]) for row in rows] == [
                    ("decoding", "12", "4", "batch"),
                    ("ending", "about 3", "0", "–"),
                ]

            await until(is_told)
        finally:
            watching.cancel()


async def test_a_gateway_that_does_not_answer(gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    # The real limits, only shorter: nobody waits for the whole of them here.
    monkeypatch.setattr(requests, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(cancelling, "PATIENCE_SECONDS", 0.05)
    cookie = await cookie_of(is_admin=True)
    await database_sync_to_async(opened)("away", "theirs.1")
    answer = await look(gateway, ROWS, cookie)
    assert [row[0] for row in cells(answer)] == ["unknown"]
    assert "not known of: away" in answer.body.decode()
    posted = await post(gateway, cookie, record="theirs.1")
    assert "by a gateway that has not answered yet" in await told(gateway, cookie, posted)


async def test_rubbish_in_events_harms_nobody(gateway: LocalGateway) -> None:
    with Hub():
        roster = Roster("mine", list)
        watching = asyncio.ensure_future(roster.watch())
        try:

            async def survives() -> bool:
                for payload in (
                    {},
                    {"question": 7},
                    {"question": "x", "gateway": 3},
                    {"question": "x", "progress": []},
                ):
                    await asyncio.to_thread(publish, TOLD, **payload)
                    await asyncio.to_thread(publish, ASKED, **payload)
                return (await roster.of({"nobody"}, patience=0.05)) == ({}, {"nobody"})

            for _ in range(3):
                await until(survives)
            assert not watching.done()
        finally:
            watching.cancel()


def test_in_a_process_that_is_no_gateway_it_is_only_read(db: None, client: Client) -> None:
    user = do_create_user("gwen", password=None, is_admin=True, acting_user=None)
    do_issue_key(user, note="", acting_user=None)
    opened("gateway-1", "theirs.1")
    client.force_login(user)
    assert "unknown" in client.get(ROWS).content.decode()
    assert client.post(CANCEL, {"record": "theirs.1"}).status_code == 302
    assert AuditEvent.objects.filter(action="request.cancelled").count() == 1
    assert UsageRecord.objects.get().is_running() and not Team.objects.exists()
