"""What goes wrong while a batch runs, and two workers who want the same one."""

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.utils import timezone

from accounts.batches import progress
from accounts.batches.progress import LeaseLost
from accounts.models import ApiKey, Batch, BatchLine, StoredFile, User
from accounts.quotas import rules
from accounts.quotas.verbs import do_delete_quota, do_set_quota
from accounts.services import do_change_user, do_revoke_key
from gateway import runtime
from gateway.batches import asking, slice
from inference import registry
from inference.engine.protocol import Failed
from inference.models import Model
from tests.gateway.batch_work import (
    batch_of,
    change,
    content_of,
    create,
    due_now,
    ended,
    line,
    stopped,
    without_sockets,
    work,
)
from tests.gateway.local import LocalGateway, until
from tests.gateway.scripts import answers, begins_and_waits

in_thread = database_sync_to_async


@pytest.fixture(autouse=True)
def worker(monkeypatch: pytest.MonkeyPatch) -> None:
    without_sockets(monkeypatch)


# --- what goes wrong -------------------------------------------------------------------------------------------------


async def test_a_line_that_an_engine_fails_on_is_tried_again_and_then_told(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real pauses between tries, only shorter.
    monkeypatch.setattr(slice, "LONGEST_BACKOFF", 0.01)

    async def fails_on_b(engine: Any, request: Any) -> Any:
        if request.messages[0]["content"] == "b":
            yield Failed(request.id, "engine_error", "The engine failed on it.")
            return
        async for events in answers(engine, request):
            yield events

    id = await create(gateway, *(line(name) for name in "abc"))
    async with gateway.engine(fails_on_b) as engine:
        await work()
    batch = await batch_of(gateway, id)
    assert (batch["status"], batch["request_counts"]) == ("completed", {"total": 3, "completed": 2, "failed": 1})
    [failed] = await content_of(gateway, batch["error_file_id"])
    assert (failed["custom_id"], failed["response"]["status_code"]) == ("b", 500)
    asked = [request.messages[0]["content"] for request in engine.requests]
    assert asked.count("b") == slice.MOST_FAULTS and asked.count("a") == asked.count("c") == 1
    assert asked[-2:] == ["b", "b"], "it runs again when nobody else is left to be harmed"


async def test_a_rate_is_waited_for(gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_AGE_SECONDS", 0.1)  # for there is no hub here whose events would tell
    quota = await in_thread(do_set_quota)(
        metric="requests", window="minute", limit=1, user=await in_thread(User.objects.get)(), acting_user=None
    )
    id = await create(gateway, line("a"), line("b"))
    async with gateway.engine(answers):
        await work()
        batch = await batch_of(gateway, id)
        assert (batch["status"], batch["request_counts"]["completed"]) == ("in_progress", 1)
        row = await in_thread(Batch.objects.get)(batch_id=id)
        assert timedelta() < row.due_at - timezone.now() <= timedelta(minutes=1)
        assert not await work(), "it is put off"
        await in_thread(do_delete_quota)(quota, acting_user=None)
        await due_now(id)
        await until(lambda: ended(gateway, id))
    assert (await batch_of(gateway, id))["status"] == "completed"
    assert len(await gateway.ledger()) == 2, "what was refused never ran"


async def test_a_quota_that_is_used_up_may_be_raised_until_the_batch_expires(gateway: LocalGateway) -> None:
    await in_thread(do_set_quota)(
        metric="requests", window="day", limit=1, user=await in_thread(User.objects.get)(), acting_user=None
    )
    id = await create(gateway, line("a"), line("b"))
    async with gateway.engine(answers):
        await work()
        row = await in_thread(Batch.objects.get)(batch_id=id)
        wait = (row.due_at - timezone.now()).total_seconds()
        assert asking.QUOTA_SECONDS - 60 < wait <= asking.QUOTA_SECONDS
        await change(id, expires_at=timezone.now(), due_at=timezone.now())
        await work()
    batch = await batch_of(gateway, id)
    assert (batch["status"], batch["request_counts"]) == ("expired", {"total": 2, "completed": 1, "failed": 1})


@pytest.mark.parametrize("how", ["revoked", "expired", "inactive", "deleted"])
async def test_a_batch_ends_with_its_key(gateway: LocalGateway, how: str) -> None:
    def end_key() -> None:
        key = ApiKey.objects.get()
        match how:
            case "revoked":
                do_revoke_key(key, acting_user=None)
            case "expired":
                ApiKey.objects.update(
                    created_at=timezone.now() - timedelta(days=2), expires_at=timezone.now() - timedelta(days=1)
                )
            case "inactive":
                do_change_user(key.user, is_active=False, acting_user=None)
            case "deleted":
                key.delete()

    id = await create(gateway, line("a"), line("b"))

    async def ends_the_key(engine: Any, request: Any) -> Any:
        await in_thread(end_key)()
        runtime.current().keys.forget_all()  # for there is no hub here whose events would tell
        async for events in answers(engine, request):
            yield events

    async with gateway.engine(ends_the_key) as engine:
        await work()
        assert len(engine.requests) == 1
    batch = await in_thread(Batch.objects.get)(batch_id=id)
    assert (batch.status, batch.completed, batch.failed) == ("failed", 1, 1)
    assert [error["code"] for error in batch.errors] == ["invalid_api_key"]
    assert batch.output_file_id and batch.error_file_id


async def test_a_model_that_is_not_served_any_more_is_waited_for(gateway: LocalGateway) -> None:
    id = await create(gateway, line("a"))
    async with gateway.engine(answers) as engine:
        await work(stopped())
        assert (await batch_of(gateway, id))["status"] == "in_progress"
        await in_thread(Model.objects.update)(name="other", aliases=[])
        await asyncio.sleep(registry.MAX_AGE_SECONDS + 0.1)
        await due_now(id)
        await work()
        assert engine.requests == []
    row = await in_thread(Batch.objects.get)(batch_id=id)
    assert (row.status, row.completed, row.failed) == ("in_progress", 0, 0)
    assert row.due_at > timezone.now() + timedelta(seconds=asking.MODEL_SECONDS / 2)


async def test_a_worker_that_stops_leaves_the_batch_to_the_next(gateway: LocalGateway) -> None:
    id = await create(gateway, line("a"), line("b"))
    stopping = threading.Event()
    async with gateway.engine(begins_and_waits) as engine:
        working = asyncio.ensure_future(work(stopping))
        await until(lambda: len(engine.requests) == 1)
        stopping.set()
        await working
        await until(lambda: engine.cancelled[engine.requests[0].id].is_set())
    row = await in_thread(Batch.objects.get)(batch_id=id)
    assert (row.status, row.lease, row.completed) == ("in_progress", "", 0)
    assert row.due_at <= timezone.now()


# --- two workers -----------------------------------------------------------------------------------------------------


async def test_two_workers_never_have_one_batch(gateway: LocalGateway) -> None:
    await create(gateway, line("a"))

    def race() -> list[Batch | None]:
        return [progress.claim(), progress.claim()]

    first, second = await in_thread(race)()
    assert first is not None and second is None


async def test_who_has_lost_the_lease_writes_nothing(gateway: LocalGateway) -> None:
    id = await create(gateway, line("a"))
    await work(stopped())

    def lose() -> None:
        late = progress.claim()
        assert late is not None
        Batch.objects.update(leased_until=timezone.now())
        new = progress.claim()
        assert new is not None and new.lease != late.lease
        [row] = BatchLine.objects.all()
        for write in (
            lambda: progress.renew(late),
            lambda: progress.record_answer(row, batch=late, answer="late", is_error=False, tokens=progress.NO_TOKENS),
            lambda: progress.record_fault(row, batch=late),
            lambda: progress.close_waiting(late, [(row, "late")]),
            lambda: progress.forget_lines(late),
            lambda: progress.end(late, "completed"),
        ):
            with pytest.raises(LeaseLost):
                write()
        progress.put_off(late, 1000)
        assert BatchLine.objects.get().state == "waiting"
        progress.record_answer(row, batch=new, answer="{}", is_error=False, tokens=progress.NO_TOKENS)
        with pytest.raises(LeaseLost):
            progress.record_answer(row, batch=new, answer="again", is_error=False, tokens=progress.NO_TOKENS)
        stored = Batch.objects.get()
        assert (stored.completed, stored.lease, BatchLine.objects.get().answer) == (1, new.lease, "{}")

    await in_thread(lose)()
    assert (await batch_of(gateway, id))["request_counts"]["completed"] == 1


async def test_files_that_a_dead_worker_had_begun_are_written_anew(gateway: LocalGateway) -> None:
    id = await create(gateway, line("a"))

    def begin() -> None:
        owner = {"user": User.objects.get(), "made_by": id, "expires_at": timezone.now()}
        StoredFile.objects.create(filename="x", purpose="batch_output", **owner)

    await in_thread(begin)()
    async with gateway.engine(answers):
        await work()
    files = await in_thread(lambda: list(StoredFile.objects.filter(made_by=id).values_list("is_whole", flat=True)))()
    assert files == [True]
