"""`/v1/files`: what is stored, who sees it, for how long."""

import json
from datetime import timedelta
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.utils import timezone

from accounts import files
from accounts.models import AuditEvent, FileChunk, StoredFile, Team, User
from accounts.models.stored_file import CHUNK_BYTES
from accounts.services import do_add_member, do_create_team, do_create_user, do_delete_user, do_issue_key
from accounts.tasks import delete_expired_files
from tests.gateway.batch_work import BOUNDARY, form, line, post_file, upload
from tests.gateway.local import LocalGateway

FILES = "/v1/files"
in_thread = database_sync_to_async


async def key_of(user: User | None = None, team: Team | None = None) -> dict[str, str]:
    raw = await in_thread(lambda: do_issue_key(user or User.objects.get(), team=team, acting_user=None).raw)()
    return {"authorization": f"Bearer {raw}"}


async def new_user(name: str) -> User:
    return await in_thread(do_create_user)(name, password=None, acting_user=None)


async def read(gateway: LocalGateway, id: str, **options: Any) -> Any:
    return await gateway.ask(f"{FILES}/{id}/content", method="GET", **options)


async def listed(gateway: LocalGateway, query: str = "", **options: Any) -> Any:
    return (await gateway.ask(FILES, method="GET", query_string=query.encode(), **options)).json


async def test_what_goes_in_comes_out(gateway: LocalGateway) -> None:
    """Over the borders of chunks, and whatever the bytes."""
    content = bytes(range(256)) * (CHUNK_BYTES // 256) * 2 + b"\0\r\n--" + BOUNDARY[:-1].encode() + b"\xff"
    made = await post_file(gateway, content, purpose="user_data", name="../../a “b” \u2603.bin")
    assert made.status == 200
    assert made.json == {
        "id": made.json["id"], "object": "file", "bytes": len(content), "filename": "a “b” \u2603.bin",
        "purpose": "user_data", "status": "processed", "status_details": None,
        "created_at": made.json["created_at"], "expires_at": made.json["created_at"] + 30 * 86_400,
    }  # fmt: skip
    known = await gateway.ask(f"{FILES}/{made.json['id']}", method="GET")
    assert known.json == made.json
    answer = await read(gateway, made.json["id"])
    assert answer.body == content
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith("attachment; filename*=utf-8''a%20")
    assert (await gateway.ask(f"{FILES}/{made.json['id']}", method="DELETE")).json == {
        "id": made.json["id"], "object": "file", "deleted": True,
    }  # fmt: skip
    assert (await read(gateway, made.json["id"])).status == 404
    assert await in_thread(FileChunk.objects.count)() == 0
    assert (await gateway.ask(f"{FILES}/{made.json['id']}", method="DELETE")).status == 404


async def test_lists_page_by_page(gateway: LocalGateway) -> None:
    ids = [await upload(gateway, line(str(number))) for number in range(5)]
    await post_file(gateway, b"x", purpose="vision")
    assert [each["id"] for each in (await listed(gateway, "purpose=batch"))["data"]] == ids[::-1]
    assert [each["id"] for each in (await listed(gateway, "purpose=batch&order=asc"))["data"]] == ids
    page = await listed(gateway, "purpose=batch&limit=2&order=asc")
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[0], ids[1], True)
    page = await listed(gateway, f"purpose=batch&limit=3&order=asc&after={page['last_id']}")
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (ids[2:], False)
    page = await listed(gateway, f"after={ids[0]}")
    assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"), ("limit=10001", "limit"), ("limit=x", "limit"), ("limit=%D9%A3", "limit"),
        ("order=up", "order"), ("purpose=batch_inpu", "purpose"), ("after=file-1", "after"), ("after=%00", "after"),
        ("after=file-" + "0" * 32, "after"), ("limit=%FF", None), ("&".join(f"a{n}=1" for n in range(200)), None),
    ],
)  # fmt: skip
async def test_a_list_that_makes_no_sense(gateway: LocalGateway, query: str, param: str | None) -> None:
    answer = await gateway.ask(FILES, method="GET", query_string=query.encode())
    assert (answer.status, answer.error["param"]) == (400, param)


@pytest.mark.parametrize(
    ("content", "fields", "param"),
    [
        (b"x", {"purpose": "fun"}, "purpose"),
        (b"x", {"purpose": "batch_output"}, "purpose"),
        (b"x", {"purpose": "batch\0"}, "purpose"),
        (None, {}, "file"),
        (b"", {}, "file"),
        (b"x", {"expires_after[anchor]": "created_at"}, "expires_after"),
        (b"x", {"expires_after[seconds]": "3600"}, "expires_after"),
        (b"x", {"expires_after[anchor]": "now", "expires_after[seconds]": "3600"}, "expires_after"),
        (b"x", {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3599"}, "expires_after"),
        (b"x", {"expires_after[anchor]": "created_at", "expires_after[seconds]": "9" * 5000}, "expires_after"),
        (b"x", {"expires_after[anchor]": "created_at", "expires_after[seconds]": "-1"}, "expires_after"),
    ],
)
async def test_a_form_that_makes_no_sense(
    gateway: LocalGateway, content: bytes | None, fields: dict[str, str], param: str
) -> None:
    answer = await post_file(gateway, content, **fields)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert await in_thread(StoredFile.objects.count)() == await in_thread(FileChunk.objects.count)() == 0


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{}", "application/json"),
        (b"{}", ""),
        (b"{}", "multipart/form-data"),
        (b"{}", "multipart/form-data; boundary="),
        (b"{}", "multipart/form-data; boundary=\xff\xfe"),
        (b"", f"multipart/form-data; boundary={BOUNDARY}"),
        (b"--" * 10_000, f"multipart/form-data; boundary={BOUNDARY}"),
        (form(None, **{f"f{number}": "x" for number in range(2000)}), f"multipart/form-data; boundary={BOUNDARY}"),
        (form(None, purpose="x" * 3_000_000), f"multipart/form-data; boundary={BOUNDARY}"),
    ],
)
async def test_what_is_no_form(gateway: LocalGateway, body: bytes, content_type: str) -> None:
    answer = await gateway.ask(FILES, body=body, headers={"content-type": content_type})
    assert answer.status == 400
    assert answer.error["message"]
    assert await in_thread(FileChunk.objects.count)() == 0


async def test_only_the_first_file_of_a_form_counts(gateway: LocalGateway) -> None:
    head = form(b"first", purpose="user_data").removesuffix(f"--{BOUNDARY}--\r\n".encode())
    answer = await gateway.ask(
        FILES, body=head + form(b"second"), headers={"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    )
    assert (await read(gateway, answer.json["id"])).body == b"first"


async def test_who_is_not_the_owner_sees_nothing(gateway: LocalGateway) -> None:
    """A stranger, a colleague, and the owner with a key for a team."""
    id = await upload(gateway, line("a"))
    owner = await in_thread(User.objects.get)()
    team = await in_thread(do_create_team)("Vision", acting_user=None)
    await in_thread(do_add_member)(team, owner, acting_user=None)
    for headers in (await key_of(await new_user("sten")), await key_of(owner, team)):
        assert (await listed(gateway, headers=headers))["data"] == []
        absent = await gateway.ask(f"{FILES}/file-{'0' * 32}", method="GET", headers=headers)
        for method, path in (("GET", id), ("DELETE", id), ("GET", f"{id}/content")):
            answer = await gateway.ask(f"{FILES}/{path}", method=method, headers=headers)
            assert (answer.status, answer.error["code"]) == (404, "file_not_found")
            assert answer.error["message"] == absent.error["message"].replace("0" * 32, id.removeprefix("file-"))
        body = {"input_file_id": id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        made = await gateway.ask("/v1/batches", body=json.dumps(body).encode(), headers=headers)
        assert (made.status, made.error["code"]) == (404, "file_not_found")
    # With another key for no team, its owner does.
    assert (await read(gateway, id, headers=await key_of(owner))).status == 200


@pytest.mark.parametrize("id", ["file-1", "%00", "file-" + "0" * 32, "file-\0", "x" * 500, "file-' OR 1=1 --", "…"])
async def test_a_file_that_is_not_there(gateway: LocalGateway, id: str) -> None:
    for method, path in (("GET", id), ("DELETE", id), ("GET", f"{id}/content")):
        answer = await gateway.ask(f"{FILES}/{path}", method=method)
        assert (answer.status, answer.error["code"]) == (404, "file_not_found")


async def test_what_has_expired_is_gone_and_then_deleted(gateway: LocalGateway) -> None:
    fields = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    made = (await post_file(gateway, b"x", **fields)).json
    assert made["expires_at"] == made["created_at"] + 3600
    kept = await upload(gateway, line("a"))
    await in_thread(StoredFile.objects.filter(file_id=made["id"]).update)(expires_at=timezone.now())
    assert (await read(gateway, made["id"])).status == 404
    assert [each["id"] for each in (await listed(gateway))["data"]] == [kept]
    assert await in_thread(delete_expired_files)() == 1
    assert await in_thread(lambda: [file.file_id for file in StoredFile.objects.all()])() == [kept]


async def test_an_upload_that_was_never_finished_is_deleted(gateway: LocalGateway) -> None:
    def begin() -> None:
        row = StoredFile(user=User.objects.get(), filename="a", purpose="batch", expires_at=files.lifetime())
        files.Writer(row).write(b"x" * (CHUNK_BYTES + 1))

    await in_thread(begin)()
    assert (await listed(gateway))["data"] == []
    assert await in_thread(delete_expired_files)() == 0
    await in_thread(StoredFile.objects.update)(created_at=timezone.now() - timedelta(hours=2))
    assert await in_thread(delete_expired_files)() == 1
    assert await in_thread(FileChunk.objects.count)() == 0


async def test_a_file_has_a_limit_of_its_own(gateway: LocalGateway, settings: Any) -> None:
    settings.MAX_BODY_BYTES, settings.MAX_FILE_BYTES = 1 << 20, 2 << 20
    assert (await post_file(gateway, b"x" * (2 << 20))).status == 200
    for size in ((2 << 20) + 1, 3 << 20):
        answer = await post_file(gateway, b"x" * size)
        assert (answer.status, answer.error["code"]) == (413, "request_too_large")
        assert "ATELIER_MAX_FILE_MB" in answer.error["message"]
    assert (await gateway.ask("/v1/batches", body=b"x" * (2 << 20))).status == 413
    assert await in_thread(StoredFile.objects.count)() == 1


async def test_what_one_user_may_store(gateway: LocalGateway, settings: Any) -> None:
    settings.FILES_PER_USER_BYTES = 3 << 20
    first = await post_file(gateway, b"x" * (2 << 20))
    answer = await post_file(gateway, b"x" * (2 << 20))
    assert (answer.status, answer.error["code"]) == (413, "storage_limit_exceeded")
    assert "ATELIER_FILES_PER_USER_MB" in answer.error["message"]
    assert await in_thread(FileChunk.objects.count)() == 2, "nothing is left of what was too much"
    await gateway.ask(f"{FILES}/{first.json['id']}", method="DELETE")
    assert (await post_file(gateway, b"x" * (2 << 20))).status == 200


async def test_files_go_with_their_user(gateway: LocalGateway) -> None:
    await upload(gateway, line("a"))
    await in_thread(lambda: do_delete_user(User.objects.get(), acting_user=None))()
    assert await in_thread(FileChunk.objects.count)() == 0


async def test_who_deletes_anothers_file_is_written_down(gateway: LocalGateway) -> None:
    """Without its name, which may tell what is in it."""
    ids = [await upload(gateway, line("a")) for _ in range(2)]
    admin = await new_user("root")
    await gateway.ask(f"{FILES}/{ids[0]}", method="DELETE")

    def delete() -> list[AuditEvent]:
        assert files.do_delete_file(StoredFile.objects.get(file_id=ids[1]), acting_user=admin)
        return list(AuditEvent.objects.filter(action="file.deleted"))

    [event] = await in_thread(delete)()
    assert (event.actor_name, event.target_label, event.before["user"]) == ("root", ids[1], "gwen")
    assert "in.jsonl" not in str(event.before)
