from typing import Any

from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from accounts.models import ApiKey, AuditEvent, UsageRecord, User
from accounts.services import IssuedKey
from tests.accounts.admin_pages import change_form, page, signed_in, staff


def test_adding_a_user_is_audited(boss: Client, root: User):
    password = "a long enough pass phrase"
    data = {"username": "anna", "email": "anna@example.org", "usable_password": "true"}
    answer = boss.post(page("user", "add"), {**data, "password1": password, "password2": password})
    user = User.objects.get(username="anna")
    assert answer["Location"] == page("user", "change", user.pk)
    assert user.check_password(password)
    assert user.email == "anna@example.org"
    event = AuditEvent.objects.get(action="user.created", target_id=str(user.pk))
    assert event.actor == root


def test_a_user_may_have_no_password(boss: Client):
    boss.post(page("user", "add"), {"username": "service", "usable_password": "false", "email": ""})
    assert not User.objects.get(username="service").has_usable_password()


def test_deactivating_a_user_is_audited_and_said(
    boss: Client, root: User, issued: IssuedKey, owner: User, django_capture_on_commit_callbacks: Any
):
    data = change_form(boss, owner)
    data.pop("is_active")
    with django_capture_on_commit_callbacks() as said:
        answer = boss.post(page("user", "change", owner.pk), data)
    assert answer.status_code == 302
    owner.refresh_from_db()
    assert not owner.is_active
    assert not ApiKey.objects.live().exists()
    event = AuditEvent.objects.get(action="user.changed")
    assert (event.actor, event.before, event.after) == (root, {"is_active": True}, {"is_active": False})
    assert [(call.args, call.keywords) for call in said] == [(("user.changed",), {"user_id": owner.pk})]


def test_permissions_are_audited(boss: Client, owner: User):
    permission = Permission.objects.get(codename="view_usagerecord")
    data = {**change_form(boss, owner), "is_staff": "on", "user_permissions": [permission.pk]}
    assert boss.post(page("user", "change", owner.pk), data).status_code == 302
    assert owner.user_permissions.get() == permission
    event = AuditEvent.objects.get(action="user.changed")
    assert event.before == {"is_staff": False, "user_permissions": []}
    assert event.after == {"is_staff": True, "user_permissions": [str(permission)]}


def test_saving_without_a_change_is_no_event(boss: Client, owner: User):
    assert boss.post(page("user", "change", owner.pk), change_form(boss, owner)).status_code == 302
    assert not AuditEvent.objects.filter(action="user.changed").exists()


def test_changing_a_password(boss: Client, root: User, owner: User):
    url = reverse("admin:auth_user_password_change", args=[owner.pk])
    assert boss.get(url).status_code == 200
    password = "a long enough pass phrase"
    data = {"usable_password": "true", "password1": password, "password2": password, "set-password": "1"}
    assert boss.post(url, data).status_code == 302
    owner.refresh_from_db()
    assert owner.check_password(password)
    event = AuditEvent.objects.get(action="user.password_set")
    assert (event.actor, event.after) == (root, {"password_is_set": True})
    boss.post(url, {"usable_password": "false", "unset-password": "1"})
    owner.refresh_from_db()
    assert not owner.has_usable_password()


def test_deleting_a_user_takes_its_keys_and_keeps_its_usage(
    boss: Client,
    root: User,
    owner: User,
    issued: IssuedKey,
    record: UsageRecord,
    django_capture_on_commit_callbacks: Any,
):
    pk = owner.pk
    confirmation = boss.get(page("user", "delete", pk)).content.decode()
    assert "permission" not in confirmation
    with django_capture_on_commit_callbacks() as said:
        assert boss.post(page("user", "delete", pk), {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=pk).exists()
    assert not ApiKey.objects.exists()
    record.refresh_from_db()
    assert (record.user, record.username) == (None, "olga")
    assert AuditEvent.objects.get(action="user.deleted").actor == root
    assert [(call.args, call.keywords) for call in said] == [(("user.changed",), {"user_id": pk})]


def test_deleting_selected_users_is_audited(boss: Client, owner: User, stranger: User, issued: IssuedKey):
    data = {"action": "delete_selected", "_selected_action": [owner.pk, stranger.pk], "post": "yes"}
    boss.post(page("user", "changelist"), data)
    assert list(User.objects.values_list("username", flat=True)) == ["root"]
    assert AuditEvent.objects.filter(action="user.deleted").count() == 2


def test_staff_cannot_make_themselves_superusers(root: User, owner: User):
    user = staff("view_user", "change_user", "delete_user", "add_user")
    client = signed_in(user)
    data = {**change_form(client, owner), "is_superuser": "on", "is_staff": "on", "email": "o@example.org"}
    assert client.post(page("user", "change", owner.pk), data).status_code == 302
    owner.refresh_from_db()
    assert (owner.email, owner.is_superuser, owner.is_staff) == ("o@example.org", False, False)
    password = reverse("admin:auth_user_password_change", args=[root.pk])
    data = {"usable_password": "true", "password1": "x" * 20, "password2": "x" * 20, "set-password": "1"}
    assert client.post(password, data).status_code == 403
    assert client.post(page("user", "change", root.pk), {"username": "mine"}).status_code == 403
    assert client.post(page("user", "delete", root.pk), {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [root.pk], "post": "yes"}
    assert client.post(page("user", "changelist"), chosen).status_code == 403
    root.refresh_from_db()
    assert root.check_password("correct horse")
