import re

from django.test import Client

from accounts import keys
from accounts.models import ApiKey, AuditEvent, Team, User
from accounts.services import IssuedKey, do_issue_key
from tests.accounts.admin_pages import (
    database_dump,
    page,
)

RAW_KEY = re.compile(r"sk-atelier-\w{46}")


def test_adding_a_key_shows_it_exactly_once(boss: Client, root: User, owner: User, team: Team):
    data = {
        "user": owner.pk,
        "team": team.pk,
        "note": "laptop",
        "expires_at_0": "",
        "expires_at_1": "",
        "scopes": ["generate"],
        "priority": "api",
    }
    added = boss.post(page("apikey", "add"), data)
    assert added.status_code == 302
    assert "_messages" not in boss.session  # which is a table
    row = ApiKey.objects.get()
    assert (row.user, row.team, row.note) == (owner, team, "laptop")
    following = boss.get(page("apikey", "changelist")).content.decode()
    (raw,) = set(RAW_KEY.findall(following))
    assert keys.digest(raw) == row.digest
    for again in (page("apikey", "changelist"), page("apikey", "change", row.pk)):
        content = boss.get(again).content.decode()
        assert not RAW_KEY.search(content)
        assert row.digest not in content
        assert row.prefix in content
    event = AuditEvent.objects.get(action="key.issued")
    assert event.actor == root
    assert raw not in database_dump()


def test_adding_a_key_with_limits(boss: Client, owner: User):
    data = {"user": owner.pk, "note": "", "expires_at_0": "", "expires_at_1": "", "scopes": ["generate", "models"],
            "priority": "api",
            "allowed_models": "qwen, llama\nqwen", "allowed_networks": "10.0.0.0/8 fd00::/8"}  # fmt: skip
    assert boss.post(page("apikey", "add"), data).status_code == 302
    row = ApiKey.objects.get()
    assert (row.scopes, row.allowed_models) == (["generate", "models"], ["qwen", "llama"])
    assert row.allowed_networks == ["10.0.0.0/8", "fd00::/8"]
    shown = boss.get(page("apikey", "change", row.pk)).content.decode()
    assert "10.0.0.0/8" in shown and "qwen" in shown
    answer = boss.post(page("apikey", "add"), {**data, "allowed_networks": "home", "scopes": []})
    assert {"allowed_networks", "scopes"} & set(answer.context["adminform"].form.errors)
    assert ApiKey.objects.count() == 1


def test_a_key_for_another_s_team_is_refused_on_the_form(boss: Client, team: Team, stranger: User):
    data = {
        "user": stranger.pk,
        "team": team.pk,
        "note": "",
        "expires_at_0": "2020-01-01",
        "expires_at_1": "10:00",
        "scopes": ["generate"],
        "priority": "api",
    }
    answer = boss.post(page("apikey", "add"), data)
    assert answer.status_code == 200
    assert "expires_at" in answer.context["adminform"].form.errors
    answer = boss.post(page("apikey", "add"), {**data, "expires_at_0": "", "expires_at_1": "", "scopes": ["generate"]})
    assert "sten is not in team Vision" in str(answer.context["adminform"].form.errors)
    assert "user" in boss.post(page("apikey", "add"), {}).context["adminform"].form.errors
    assert not ApiKey.objects.exists()


def test_revoking_selected_keys(boss: Client, root: User, issued: IssuedKey, stranger: User):
    other = do_issue_key(stranger, acting_user=None)
    listing = page("apikey", "changelist")
    answer = boss.post(listing, {"action": "revoke", "_selected_action": [issued.row.pk]}, follow=True)
    assert "1 of 1 keys revoked" in answer.content.decode()
    assert list(ApiKey.objects.live()) == [other.row]
    assert AuditEvent.objects.get(action="key.revoked").actor == root


def test_keys_are_neither_edited_nor_deleted(boss: Client, issued: IssuedKey):
    before = ApiKey.objects.values().get()
    assert boss.post(page("apikey", "change", issued.row.pk), {"note": "mine"}).status_code == 403
    assert boss.post(page("apikey", "delete", issued.row.pk), {"post": "yes"}).status_code == 403
    listing = page("apikey", "changelist")
    boss.post(listing, {"action": "delete_selected", "_selected_action": [issued.row.pk], "post": "yes"})
    assert ApiKey.objects.values().get() == before
