"""The engines in the admin, through the application that also talks to them."""

from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from accounts.models import User
from accounts.services import do_create_user
from inference.admin import engines as admin
from inference.engine.protocol import Stats
from inference.models import Deployment, Engine
from inference.services import do_record_engine
from tests.gateway.asgi_driver import Exchange
from tests.gateway.local import LocalGateway
from tests.gateway.scripts import answers

LIST = reverse("admin:inference_engine_changelist")
STATS = Stats(
    steps=9, running=3, waiting=41, prefill_tokens=12_345, cached_tokens=67_890, generated_tokens=2_468, preemptions=5,
    requests=77, memory_bytes=3 << 30, kv_bytes=5 << 20, pool_bytes=7 << 20,
    cache={"tokens_asked": 80_000, "tokens_saved": 60_000, "blocks_used": 120, "blocks_total": 4_096},
    memory={"state": "limit", "percent": 86.4, "limit_bytes": 16 << 30, "refusing": True, "context_share": 0.5},
)  # fmt: skip


def signed_in(*permissions: str, is_admin: bool = False) -> str:
    """The cookie of a browser."""
    user = do_create_user("staff", password=None, is_admin=is_admin, acting_user=None)
    User.objects.filter(pk=user.pk).update(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


def detail() -> str:
    return reverse("admin:inference_engine_change", args=[Engine.objects.get().pk])


async def look(gateway: LocalGateway, path: str, cookie: str, **options: Any) -> Exchange:
    return await gateway.ask(path, method=options.pop("method", "GET"), headers={"cookie": cookie}, **options)


async def test_pages_show_the_last_heartbeat(gateway: LocalGateway) -> None:
    cookie = await database_sync_to_async(signed_in)("view_engine")
    page = await database_sync_to_async(detail)()
    async with gateway.engine(answers, stats=STATS):
        listed, shown = await look(gateway, LIST, cookie), await look(gateway, page, cookie)
    for answer in (listed, shown):
        assert answer.status == 200
        for said in ("scripted", "75 % of 80,000 prompt tokens", "limit: 86 % of 16.0", "41"):
            assert said in answer.body.decode(), said
    for said in (
        "12,345", "67,890", "2,468", "120 of 4,096", "3.0", "5.0", "7.0", "seconds ago", "new requests are refused",
        "new requests get 50% of the context",
    ):  # fmt: skip
        assert said in shown.body.decode(), said


async def test_an_engine_with_nothing_to_tell_yet(gateway: LocalGateway) -> None:
    cookie = await database_sync_to_async(signed_in)("view_engine")
    page = await database_sync_to_async(detail)()
    async with gateway.engine(answers, stats=Stats(steps=0, running=0, waiting=0)):
        shown = await look(gateway, page, cookie)
    assert shown.status == 200
    assert "nothing looked up yet" in shown.body.decode()


async def test_without_a_heartbeat_pages_open_all_the_same(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real limit, only shorter: nobody waits for the whole of it here.
    monkeypatch.setattr(admin, "PATIENCE_SECONDS", 0.05)
    cookie = await database_sync_to_async(signed_in)("view_engine")
    page = await database_sync_to_async(detail)()
    for state in (Engine.State.READY, Engine.State.FAILED):
        await database_sync_to_async(Engine.objects.update)(state=state, last_error="no such model")
        assert (await look(gateway, LIST, cookie)).status == 200
        shown = await look(gateway, page, cookie)
        assert shown.status == 200
        assert "no heartbeat" in shown.body.decode() and "no such model" in shown.body.decode()


async def test_why_a_model_does_not_batch(gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    # The real limit, only shorter: nobody waits for the whole of it here.
    monkeypatch.setattr(admin, "PATIENCE_SECONDS", 0.05)

    def prepare() -> tuple[str, str]:
        do_record_engine(Deployment.objects.get(), batching="single", batching_reason="rows are off by 3 deviations")
        return signed_in(is_admin=True), detail()

    cookie, page = await database_sync_to_async(prepare)()
    shown = (await look(gateway, page, cookie)).body.decode()
    assert "single" in shown and "rows are off by 3 deviations" in shown


async def test_engines_are_only_read(gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    # The real limit, only shorter: nobody waits for the whole of it here.
    monkeypatch.setattr(admin, "PATIENCE_SECONDS", 0.05)

    def visit() -> list[int]:
        client = Client()
        client.force_login(do_create_user("boss", password=None, is_admin=True, acting_user=None))
        engine = Engine.objects.get()
        delete = reverse("admin:inference_engine_delete", args=[engine.pk])
        return [
            client.get(reverse("admin:inference_engine_add")).status_code,
            client.post(delete, {"post": "yes"}).status_code,
            client.post(detail(), {"state": "failed"}).status_code,
            client.get(LIST).status_code,
        ]

    # A process that isn't a gateway has nobody to ask, and shows what is stored.
    assert await database_sync_to_async(visit)() == [403, 403, 403, 200]
    assert await database_sync_to_async(Engine.objects.get)()
    stranger = await database_sync_to_async(signed_in)()
    assert (await look(gateway, LIST, stranger)).status == 403
