"""The pages of files and batches: to read, to cancel, to delete; never what is in them."""

import pytest
from django.test import Client
from django.utils import timezone

from accounts import files
from accounts.authentication import Principal
from accounts.batches.verbs import do_create_batch
from accounts.models import AuditEvent, Batch, FileChunk, StoredFile, User
from tests.accounts.admin_pages import page, signed_in, staff

SECRET = "salaries of 2026"


@pytest.fixture
def file(principal: Principal) -> StoredFile:
    row = StoredFile(
        user_id=principal.user_id,
        team_id=principal.team_id,
        filename=f"{SECRET}.jsonl",
        purpose="batch",
        expires_at=files.lifetime(),
    )
    writer = files.Writer(row)
    writer.write(SECRET.encode())
    return writer.finish()


@pytest.fixture
def batch(principal: Principal, file: StoredFile) -> Batch:
    batch = do_create_batch(
        principal,
        endpoint="/v1/chat/completions",
        input_file_id=file.file_id,
        window="24h",
        metadata=f'{{"about": "{SECRET}"}}',
    )
    error = {"code": "invalid_request", "message": SECRET, "param": None, "line": 3}
    Batch.objects.filter(pk=batch.pk).update(lease="5ecret1ea5e", errors=[error])
    return batch


def chosen(client: Client, model: str, action: str, *rows: StoredFile | Batch) -> str:
    answer = client.post(
        page(model, "changelist"), {"action": action, "_selected_action": [row.pk for row in rows]}, follow=True
    )
    return answer.content.decode()


def test_nobody_reads_there_what_is_in_them(boss: Client, file: StoredFile, batch: Batch):
    for model, row in (("storedfile", file), ("batch", batch)):
        for url in (page(model, "changelist"), page(model, "change", row.pk)):
            shown = boss.get(url)
            assert shown.status_code == 200
            text = shown.content.decode()
            assert str(row) in text and "olga" in text
            assert SECRET not in text and "5ecret1ea5e" not in text
    assert "line 3: invalid_request" in boss.get(page("batch", "change", batch.pk)).content.decode()


def test_nothing_is_changed_there(boss: Client, file: StoredFile, batch: Batch):
    for model, row in (("storedfile", file), ("batch", batch)):
        assert boss.get(page(model, "add")).status_code == 403
        assert boss.post(page(model, "delete", row.pk), {"post": "yes"}).status_code == 403
        before = type(row).objects.values().get(pk=row.pk)
        boss.post(page(model, "change", row.pk), {"status": "completed", "purpose": "vision"})
        boss.post(page(model, "changelist"), {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"})
        assert type(row).objects.values().get(pk=row.pk) == before


def test_a_batch_is_cancelled_and_its_file_deleted(boss: Client, root: User, file: StoredFile, batch: Batch):
    assert "1 stay" in chosen(boss, "storedfile", "delete_files", file)
    assert "1 of 1 batches cancelled" in chosen(boss, "batch", "cancel", batch)
    assert AuditEvent.objects.get(action="batch.cancelled").actor == root
    Batch.objects.update(status="cancelled", ended_at=timezone.now())
    assert "0 of 1 batches cancelled" in chosen(boss, "batch", "cancel", batch)
    assert "1 files deleted" in chosen(boss, "storedfile", "delete_files", file)
    event = AuditEvent.objects.get(action="file.deleted")
    assert (event.actor, event.target_label) == (root, file.file_id)
    assert SECRET not in str(event.before)
    assert not StoredFile.objects.exists() and not FileChunk.objects.exists()


def test_who_may_only_look_may_not_act(file: StoredFile, batch: Batch):
    viewer = signed_in(staff("view_storedfile", "view_batch"))
    chosen(viewer, "batch", "cancel", batch)
    chosen(viewer, "storedfile", "delete_files", file)
    assert Batch.objects.get().status == "validating"
    assert StoredFile.objects.filter(is_whole=True).exists()


def test_a_file_that_is_being_uploaded_is_not_there_yet(boss: Client, file: StoredFile):
    StoredFile.objects.update(is_whole=False)
    assert file.file_id not in boss.get(page("storedfile", "changelist")).content.decode()
