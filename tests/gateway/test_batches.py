"""`/v1/batches` in front of an engine that does what it is told to: what becomes of each line, and of the batch."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.utils import timezone

from accounts.batches.verbs import do_cancel_batch
from accounts.models import AuditEvent, Batch, BatchLine, StoredFile, User
from accounts.services import do_add_member, do_create_team, do_create_user, do_issue_key
from accounts.tasks import delete_expired_files
from tests.gateway.batch_work import (
    CHAT,
    batch_of,
    change,
    content_of,
    create,
    line,
    post_file,
    told,
    upload,
    without_sockets,
    work,
)
from tests.gateway.local import LocalGateway, until
from tests.gateway.scripts import answers, begins_and_waits

in_thread = database_sync_to_async


@pytest.fixture(autouse=True)
def worker(monkeypatch: pytest.MonkeyPatch) -> None:
    without_sockets(monkeypatch)


async def test_a_batch_from_its_file_to_its_answers(gateway: LocalGateway) -> None:
    id = await create(gateway, line("a"), line("b"), "", line("c"), metadata={"night": "1"})
    begun = await batch_of(gateway, id)
    assert (begun["status"], begun["metadata"], begun["completion_window"]) == ("validating", {"night": "1"}, "24h")
    assert begun["expires_at"] == begun["created_at"] + 86_400
    async with gateway.engine(answers) as engine:
        assert await work()
    assert not await work(), "it has ended"
    batch = await batch_of(gateway, id)
    assert (batch["status"], batch["model"], batch["errors"]) == ("completed", "scripted", None)
    assert batch["request_counts"] == {"total": 3, "completed": 3, "failed": 0}
    assert batch["usage"] == {
        "input_tokens": 21, "input_tokens_details": {"cached_tokens": 12},
        "output_tokens": 9, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 30,
    }  # fmt: skip
    assert batch["completed_at"] >= batch["finalizing_at"] >= batch["in_progress_at"] >= batch["created_at"]
    assert batch["error_file_id"] is None and batch["failed_at"] is batch["cancelled_at"] is None
    found = await content_of(gateway, batch["output_file_id"])
    assert [each["custom_id"] for each in found] == ["a", "b", "c"]
    assert all(each["error"] is None and each["id"].startswith("batch_req_") for each in found)
    assert found[2]["response"]["request_id"] == f"{id}.4", "lines are counted as an editor counts them"
    assert found[0]["response"]["body"]["choices"][0]["message"]["content"] == "Hello \n\n✓"
    file = (await gateway.ask(f"/v1/files/{batch['output_file_id']}", method="GET")).json
    assert (file["purpose"], file["filename"]) == ("batch_output", f"{id}_output.jsonl")
    assert {request.priority for request in engine.requests} == {"batch"}
    rows = await gateway.ledger()
    told_of = {(row["username"], row["outcome"], row["endpoint"]) for row in rows}
    assert told_of == {("gwen", "stop", "chat.completions")}
    assert all(row["request_id"].startswith(f"{id}.") for row in rows)
    assert await in_thread(BatchLine.objects.count)() == 0


async def test_answers_that_are_errors_have_a_file_of_their_own(gateway: LocalGateway) -> None:
    id = await create(gateway, line("a"), line("b", temperature=9), line("c", max_tokens="many"))
    async with gateway.engine(answers):
        await work()
    batch = await batch_of(gateway, id)
    assert (batch["status"], batch["request_counts"]) == ("completed", {"total": 3, "completed": 1, "failed": 2})
    failed = await content_of(gateway, batch["error_file_id"])
    assert [(each["custom_id"], each["response"]["status_code"]) for each in failed] == [("b", 400), ("c", 400)]
    assert failed[0]["response"]["body"]["error"]["param"] == "temperature"
    assert len(await content_of(gateway, batch["output_file_id"])) == 1


# --- creating, seeing, cancelling ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"endpoint": "/v1/moderations"}, "endpoint"),
        ({"endpoint": "/v1/chat/completions\0"}, "endpoint"),
        ({"endpoint": None}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"completion_window": None}, "completion_window"),
        ({"input_file_id": 7}, "input_file_id"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {"a" * 65: "x"}}, "metadata"),
        ({"metadata": {"a": "x" * 513}}, "metadata"),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 3599}}, "output_expires_after.seconds"),
        ({"output_expires_after": {"anchor": "now", "seconds": 3600}}, "output_expires_after.anchor"),
    ],
)
async def test_what_can_not_be_created(gateway: LocalGateway, fields: dict[str, Any], param: str) -> None:
    given = {"input_file_id": await upload(gateway, line("a")), "endpoint": CHAT, "completion_window": "24h", **fields}
    answer = await gateway.ask("/v1/batches", body=json.dumps(given).encode())
    assert (answer.status, (answer.error["param"] or "").split("[")[0]) == (400, param), answer.error
    assert await in_thread(Batch.objects.count)() == 0


async def test_only_a_batchs_file_is_its_input(gateway: LocalGateway) -> None:
    other = (await post_file(gateway, b"x", purpose="user_data")).json["id"]
    for id, status in ((other, 400), ("file-" + "0" * 32, 404), ("file-\0", 404), ("", 404)):
        body = {"input_file_id": id, "endpoint": CHAT, "completion_window": "24h"}
        assert (await gateway.ask("/v1/batches", body=json.dumps(body).encode())).status == status


async def test_metadata_comes_back_as_it_was(gateway: LocalGateway) -> None:
    given = {"null": "\0", "html": "<script>", "formula": "=1+1", "": "'; DROP TABLE accounts_batch; --"}
    id = await create(gateway, line("a"), metadata=given)
    assert (await batch_of(gateway, id))["metadata"] == given


async def test_a_key_without_the_endpoints_scope_makes_no_batch(gateway: LocalGateway) -> None:
    raw = (await in_thread(lambda: do_issue_key(User.objects.get(), scopes=["batch", "embed"], acting_user=None))()).raw
    body = {"input_file_id": await upload(gateway, line("a")), "endpoint": CHAT, "completion_window": "24h"}
    headers = {"authorization": f"Bearer {raw}"}
    answer = await gateway.ask("/v1/batches", body=json.dumps(body).encode(), headers=headers)
    assert (answer.status, answer.error["code"]) == (403, "insufficient_permissions")


async def test_how_many_one_user_may_have(gateway: LocalGateway, settings: Any) -> None:
    settings.BATCHES_PER_USER = 1
    id = await create(gateway, line("a"))
    body = {"input_file_id": await upload(gateway, line("a")), "endpoint": CHAT, "completion_window": "24h"}
    answer = await gateway.ask("/v1/batches", body=json.dumps(body).encode())
    assert (answer.status, answer.error["code"]) == (400, "too_many_batches")
    await gateway.ask(f"/v1/batches/{id}/cancel")
    await work()
    assert (await gateway.ask("/v1/batches", body=json.dumps(body).encode())).status == 200


async def test_lists_and_who_sees_them(gateway: LocalGateway) -> None:
    ids = [await create(gateway, line("a")) for _ in range(3)]
    page = (await gateway.ask("/v1/batches", method="GET", query_string=b"limit=2")).json
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (ids[:0:-1], True)
    page = (await gateway.ask("/v1/batches", method="GET", query_string=f"after={ids[1]}".encode())).json
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (ids[:1], False)
    for query in (b"limit=101", b"limit=0", b"after=batch_1", b"after=%00"):
        assert (await gateway.ask("/v1/batches", method="GET", query_string=query)).status == 400

    def strangers() -> list[str]:
        sten, gwen = do_create_user("sten", password=None, acting_user=None), User.objects.get(username="gwen")
        team = do_create_team("Vision", acting_user=None)
        do_add_member(team, gwen, acting_user=None)
        return [do_issue_key(sten, acting_user=None).raw, do_issue_key(gwen, team=team, acting_user=None).raw]

    for raw in await in_thread(strangers)():
        headers = {"authorization": f"Bearer {raw}"}
        assert (await gateway.ask("/v1/batches", method="GET", headers=headers)).json["data"] == []
        for method, path in (("GET", ids[0]), ("POST", f"{ids[0]}/cancel")):
            answer = await gateway.ask(f"/v1/batches/{path}", method=method, headers=headers)
            assert (answer.status, answer.error["code"]) == (404, "batch_not_found")
    for id in ("batch_1", "%00", "batch_" + "0" * 32, "batch_\0"):
        assert (await gateway.ask(f"/v1/batches/{id}", method="GET")).status == 404
    assert {batch.status for batch in await in_thread(lambda: list(Batch.objects.all()))()} == {"validating"}


async def test_a_batchs_input_stays_until_it_has_ended(gateway: LocalGateway) -> None:
    id = await create(gateway, line("a"))
    file = (await batch_of(gateway, id))["input_file_id"]
    await in_thread(StoredFile.objects.update)(expires_at=timezone.now())
    assert await in_thread(delete_expired_files)() == 0
    await in_thread(StoredFile.objects.update)(expires_at=timezone.now() + timedelta(days=1))
    answer = await gateway.ask(f"/v1/files/{file}", method="DELETE")
    assert (answer.status, answer.error["code"]) == (400, "file_in_use")
    async with gateway.engine(answers):
        await work()
    assert (await gateway.ask(f"/v1/files/{file}", method="DELETE")).status == 200
    assert (await batch_of(gateway, id))["input_file_id"] == file


async def test_cancelled_in_the_middle_it_keeps_what_has_been_answered(gateway: LocalGateway) -> None:
    async def second_waits(engine: Any, request: Any) -> Any:
        script = answers if len(engine.requests) == 1 else begins_and_waits
        async for events in script(engine, request):
            yield events

    id = await create(gateway, *(line(name) for name in "abcde"))
    async with gateway.engine(second_waits) as engine:
        working = asyncio.ensure_future(work())
        await until(lambda: len(engine.requests) == 3)
        cancelled = (await gateway.ask(f"/v1/batches/{id}/cancel")).json
        assert cancelled["status"] == "cancelling" and cancelled["cancelling_at"]
        assert (await gateway.ask(f"/v1/batches/{id}/cancel")).json["cancelling_at"] == cancelled["cancelling_at"]
        await working
    batch = await batch_of(gateway, id)
    assert (batch["status"], batch["request_counts"]) == ("cancelled", {"total": 5, "completed": 1, "failed": 4})
    assert batch["cancelled_at"] >= batch["cancelling_at"]
    assert [each["custom_id"] for each in await content_of(gateway, batch["output_file_id"])] == ["a"]
    rest = await content_of(gateway, batch["error_file_id"])
    assert {each["error"]["code"] for each in rest} == {"batch_cancelled"}
    assert [each["custom_id"] for each in rest] == list("bcde")
    answer = await gateway.ask(f"/v1/batches/{id}/cancel")
    assert (answer.status, answer.error["code"]) == (400, "batch_ended")
    assert "cancelled" in answer.error["message"]
    events = AuditEvent.objects.filter(target_type="batch").order_by("pk").values_list("action", "actor_name")
    written = [("batch.created", "gwen"), ("batch.cancelled", "gwen"), ("batch.ended", "")]
    assert await in_thread(list)(events) == written


async def test_cancelled_before_it_was_read(gateway: LocalGateway) -> None:
    id = await create(gateway, line("a"))
    await gateway.ask(f"/v1/batches/{id}/cancel")
    await work()
    batch = await batch_of(gateway, id)
    assert (batch["status"], batch["output_file_id"], batch["error_file_id"]) == ("cancelled", None, None)


async def test_what_has_expired_is_told_by_line(gateway: LocalGateway) -> None:
    id = await create(gateway, line("a"), line("b"))
    async with gateway.engine(answers) as engine:
        await change(id, expires_at=timezone.now())
        await work()
        assert engine.requests == []
    batch = await batch_of(gateway, id)
    assert (batch["status"], batch["request_counts"]["failed"]) == ("expired", 2)
    assert batch["expired_at"] and not batch["completed_at"]
    [first, _] = await content_of(gateway, batch["error_file_id"])
    assert (first["custom_id"], first["response"], first["error"]["code"]) == ("a", None, "batch_expired")


# --- what is left ----------------------------------------------------------------------------------------------------


async def test_old_batches_are_deleted_and_their_files_have_lives_of_their_own(gateway: LocalGateway) -> None:
    after = {"anchor": "created_at", "seconds": 3600}
    id = await create(gateway, line("a"), output_expires_after=after)
    running = await create(gateway, line("a"))
    async with gateway.engine(answers):
        await work()
    batch = await batch_of(gateway, id)
    file = (await gateway.ask(f"/v1/files/{batch['output_file_id']}", method="GET")).json
    assert file["expires_at"] == file["created_at"] + 3600
    await in_thread(delete_expired_files)()
    assert (await batch_of(gateway, id))["status"] == "completed"
    await change(id, ended_at=timezone.now() - timedelta(days=31))
    await in_thread(delete_expired_files)()
    assert (await gateway.ask(f"/v1/batches/{id}", method="GET")).status == 404
    assert (await gateway.ask(f"/v1/files/{file['id']}", method="GET")).status == 200
    assert (await batch_of(gateway, running))["status"] == "validating"


async def test_an_admin_cancels_it_in_their_name(gateway: LocalGateway) -> None:
    id = await create(gateway, line("a"))

    def cancel() -> AuditEvent:
        root = do_create_user("root", password=None, is_admin=True, acting_user=None)
        do_cancel_batch(Batch.objects.get(batch_id=id), acting_user=root)
        return AuditEvent.objects.get(action="batch.cancelled")

    event = await in_thread(cancel)()
    assert (event.actor_name, event.before, event.after) == (
        "root",
        {"status": "validating"},
        {"status": "cancelling"},
    )


async def test_the_worker_reads_what_is_wrong(gateway: LocalGateway) -> None:
    id = await create(gateway, line("a"), "nonsense", line("a"), line("b", model="nothing"))
    await work()
    batch = await batch_of(gateway, id)
    assert (batch["status"], batch["request_counts"]["total"]) == ("failed", 0)
    assert told(batch) == [
        (2, "invalid_json_line", None),
        (3, "duplicate_custom_id", "custom_id"),
        (4, "model_not_found", "body.model"),
    ]
    assert batch["failed_at"] and batch["errors"]["object"] == "list"
    assert await in_thread(BatchLine.objects.count)() == 0
