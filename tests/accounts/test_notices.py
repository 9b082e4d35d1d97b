"""Announcements and maintenance: the verbs, the commands, the pages."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.management.base import moment
from accounts.models import Announcement, AuditEvent, Maintenance, User
from accounts.notices import (
    current_maintenance,
    do_announce,
    do_change_announcement,
    do_set_maintenance,
    do_take_down_announcements,
)
from tests.accounts.admin_pages import page

SOON = timedelta(hours=1)


def run(*arguments: str, capsys: Any) -> str:
    call_command(*arguments)
    out: str = capsys.readouterr().out
    return out


def test_an_announcement_is_shown_from_its_beginning_to_its_end(root: User):
    now = timezone.now()
    shown = do_announce("  Tea at four ", acting_user=root)
    do_announce("Later", starts_at=now + SOON, acting_user=root)
    do_announce("Over", starts_at=now - 2 * SOON, ends_at=now - SOON, acting_user=root)
    assert list(Announcement.objects.current()) == [shown]
    assert (shown.text, shown.is_current()) == ("Tea at four", True)
    do_change_announcement(shown, text="Tea at five", ends_at=now - timedelta(seconds=1), starts_at=now - SOON,
                           acting_user=root)  # fmt: skip
    assert not Announcement.objects.current().exists()
    assert do_take_down_announcements(acting_user=root) == 1
    assert [each.text for each in Announcement.objects.all()] == ["Tea at five", "Over"]
    changed = AuditEvent.objects.get(action="announcement.changed")
    assert changed.before["text"] == "Tea at four" and changed.after["text"] == "Tea at five"
    assert AuditEvent.objects.filter(actor=root, action="announcement.deleted").count() == 1


FAR = datetime(9999, 12, 31, 23, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"text": ""}, "text"),
        ({"text": "x" * 501}, "text"),
        ({"text": "a\x00b"}, "text"),
        ({"text": "a\nb"}, "text"),
        ({"text": "a\x1b[31mb"}, "text"),
        ({"text": "x", "ends_at": datetime(2020, 1, 1, tzinfo=UTC)}, "ends_at"),
        ({"text": "x", "ends_at": FAR}, "ends_at"),
        ({"text": "x", "starts_at": datetime(1, 1, 1, tzinfo=UTC)}, "starts_at"),
    ],
)
def test_announcements_that_can_not_be(db: None, fields: dict[str, Any], name: str):
    with pytest.raises(ValidationError) as refused:
        do_announce(**fields, acting_user=None)
    assert name in refused.value.message_dict
    assert not Announcement.objects.exists() and not AuditEvent.objects.exists()


def test_maintenance_is_one_row_with_a_history(root: User):
    assert current_maintenance() is None
    until = timezone.now() + SOON
    do_set_maintenance(is_on=True, message="New disks.", until=until, lets_admins_in=False, acting_user=root)
    stored = current_maintenance()
    assert stored is not None
    assert stored.sentence() == f"New disks. It will likely be back at {until:%Y-%m-%d %H:%M} UTC."
    do_set_maintenance(is_on=False, acting_user=root)
    # What was told of it belonged to it.
    assert (Maintenance.stored().message, Maintenance.stored().until) == ("", None)
    do_set_maintenance(is_on=False, acting_user=root)
    on, off = AuditEvent.objects.filter(action="maintenance.changed").order_by("pk")
    assert (on.before["is_on"], on.after["is_on"], off.after["is_on"]) == (False, True, False)
    assert on.after["message"] == off.before["message"] == "New disks."
    with pytest.raises(IntegrityError), transaction.atomic():
        Maintenance.objects.create(pk=2)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"message": "x" * 301}, "message"),
        ({"message": "\x00"}, "message"),
        ({"until": datetime(2020, 1, 1, tzinfo=UTC)}, "until"),
        ({"until": FAR}, "until"),
    ],
)
def test_maintenance_that_can_not_be(db: None, fields: dict[str, Any], name: str):
    with pytest.raises(ValidationError) as refused:
        do_set_maintenance(is_on=True, acting_user=None, **fields)
    assert name in refused.value.message_dict
    assert current_maintenance() is None


# --- Commands ------------------------------------------------------------------------------------------------------


def test_the_maintenance_command(db: None, capsys: Any):
    assert run("maintenance", capsys=capsys) == "Maintenance is off.\n"
    said = run("maintenance", "on", "--message", "New disks.", "--until", "2030-01-01T08:00", capsys=capsys)
    assert "but for administrators' keys" in said and "New disks. It will likely be back at 2030-01-01 08:00" in said
    assert run("maintenance", "show", capsys=capsys) == said
    assert "new requests are refused. Users" in run("maintenance", "on", "--for-everyone", capsys=capsys)
    assert run("maintenance", "off", capsys=capsys) == "Maintenance is off.\n"
    assert AuditEvent.objects.filter(action="maintenance.changed", actor=None).count() == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["off", "--message", "x"], "go with `maintenance on`"),
        (["--until", "18:00"], "go with `maintenance on`"),
        (["on", "--until", "soon"], "no time"),
        (["on", "--until", "2020-01-01"], "--until: That has passed"),
        (["on", "--until", "9999-01-01"], "--until: Choose a time within"),
        (["on", "--message", "a\nb"], "--message: Write one line"),
        (["perhaps"], "invalid choice"),
    ],
)
def test_what_the_maintenance_command_refuses(db: None, arguments: list[str], said: str):
    with pytest.raises(CommandError, match=said):
        call_command("maintenance", *arguments)
    assert current_maintenance() is None


def test_the_announce_command(db: None, capsys: Any):
    assert run("announce", "Tea at four", "--until", "23:59", capsys=capsys) == "Announced: Tea at four\n"
    assert Announcement.objects.get().ends_at is not None
    assert run("announce", "--clear", capsys=capsys) == "Took down 1 announcement.\n"
    assert run("announce", "--clear", capsys=capsys) == "Took down 0 announcements.\n"
    for arguments, said in (
        ([], "Give a TEXT"),
        (["x", "--clear"], "Give a TEXT"),
        ([""], "TEXT: "),
        (["x", "--until", "2020-01-01"], "--until: It would end before"),
    ):
        with pytest.raises(CommandError, match=said):
            call_command("announce", *arguments)


def test_times_as_people_write_them():
    now = timezone.localtime()
    assert moment("2030-05-06T07:08+02:00") == datetime(2030, 5, 6, 5, 8, tzinfo=UTC)
    assert moment("2030-05-06 07:08") == datetime(2030, 5, 6, 7, 8, tzinfo=UTC)
    assert now < moment(f"{now - timedelta(minutes=5):%H:%M}") < now + timedelta(days=1)
    assert now < moment(f"{now + timedelta(minutes=5):%H:%M}") < now + timedelta(days=1)


# --- Pages ---------------------------------------------------------------------------------------------------------


def test_pages_show_them_escaped(boss: Client):
    do_announce("<script>alert(1)</script> & more", acting_user=None)
    do_set_maintenance(is_on=True, message="<b>disks</b>", acting_user=None)
    for client, url in ((boss, reverse("admin:index")), (Client(), reverse("account_login")), (Client(), "/nowhere")):
        said = client.get(url).content.decode()
        assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in said, url
        assert "&lt;b&gt;disks&lt;/b&gt;" in said and "New requests are refused" in said, url
        assert "<script>alert" not in said and "<b>disks" not in said
    do_take_down_announcements(acting_user=None)
    do_set_maintenance(is_on=False, acting_user=None)
    assert b'role="status"' not in boss.get(reverse("admin:index")).content


def test_maintenance_has_a_page_before_it_was_ever_on(boss: Client, root: User):
    answer = boss.get(page("maintenance", "changelist"), follow=True)
    assert answer.status_code == 200 and answer.redirect_chain[-1][0] == page("maintenance", "change", 1)
    assert not Maintenance.objects.exists(), "looking changes nothing"
    fields = {"is_on": "on", "message": "New disks", "until_0": "2030-01-01", "until_1": "08:00"}
    assert boss.post(page("maintenance", "change", 1), fields).status_code == 302
    stored = current_maintenance()
    assert stored is not None and stored.message == "New disks" and not stored.lets_admins_in
    assert AuditEvent.objects.get(action="maintenance.changed").actor == root
    for wrong, name in (
        ({"until_0": "99999-01-01"}, "until"),
        ({"until_0": "9999-12-31", "until_1": "23:59"}, "until"),
        ({"message": "a\x00b"}, "message"),
    ):
        answer = boss.post(page("maintenance", "change", 1), {**fields, **wrong})
        assert name in answer.context["adminform"].form.errors, wrong
    assert boss.get(page("maintenance", "change", 2)).status_code == 302
    assert boss.post(page("maintenance", "add"), fields).status_code == 403
    assert boss.post(page("maintenance", "delete", 1), {"post": "yes"}).status_code == 403


def test_absurd_announcements_are_errors_at_the_field(boss: Client):
    fields = {"text": "x", "starts_at_0": "2026-01-01", "starts_at_1": "00:00", "ends_at_0": "", "ends_at_1": ""}
    for wrong, name in (
        ({"text": "a\x00b"}, "text"),
        ({"text": "a\r\nb"}, "text"),
        ({"text": "x" * 501}, "text"),
        ({"starts_at_0": "0001-01-01"}, "starts_at"),
        ({"ends_at_0": "9999-12-31", "ends_at_1": "23:59:59"}, "ends_at"),
        ({"ends_at_0": "2025-12-31", "ends_at_1": "23:59"}, "ends_at"),
        ({"starts_at_0": "tomorrow"}, "starts_at"),
    ):
        answer = boss.post(page("announcement", "add"), {**fields, **wrong})
        assert name in answer.context["adminform"].form.errors, wrong
    assert not Announcement.objects.exists()
