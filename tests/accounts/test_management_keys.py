"""The management API: keys, and the log of what was done."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts import keys
from accounts.models import ApiKey, AuditEvent, Team, User
from accounts.services import (
    do_create_team,
    do_issue_key,
)
from tests.accounts.managing import Ask, by_key, managing_key

# --- keys


def test_issuing_a_key(olga: Ask, owner: User, team: Team):
    expires = (timezone.now() + timedelta(days=3)).isoformat()
    answer = olga("POST", "keys/", {
        "note": "laptop", "team": "vision", "expires_at": expires, "allowed_models": ["tiny"],
        "allowed_networks": ["10.0.0.0/8"], "scopes": ["generate"], "priority": "batch",
    })  # fmt: skip
    assert answer.status_code == 201
    shown, row = answer.json(), ApiKey.objects.get(note="laptop")
    assert keys.digest(shown["key"]) == row.digest and shown["prefix"] == row.prefix
    assert (row.user, row.team, row.scopes, row.allowed_models, row.allowed_networks, row.priority) == (
        owner, team, ["generate"], ["tiny"], ["10.0.0.0/8"], "batch",
    )  # fmt: skip
    assert shown["key"] not in olga("GET", "keys/").content.decode()
    assert row.digest not in answer.content.decode()


def test_a_key_gets_the_scope_to_manage_only_where_it_is_asked_for(olga: Ask):
    assert olga("POST", "keys/", {}).json()["scopes"] == ["models", "generate", "embed", "usage", "batch"]
    assert olga("POST", "keys/", {"scopes": ["manage", "usage"]}).json()["scopes"] == ["manage", "usage"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"team": "speech"}, "team"),
        ({"team": "nowhere"}, "team"),
        ({"team": "a\0"}, "team"),
        ({"user": "sten"}, "user"),
        ({"user": "nobody"}, "user"),
        ({"user": ""}, "user"),
        ({"note": "x" * 201}, "note"),
        ({"expires_at": "yesterday"}, "expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes"),
        ({"scopes": "generate"}, "scopes"),
        ({"allowed_models": ["m"] * 65}, "allowed_models"),
        ({"allowed_models": ["a\0"]}, "allowed_models"),
        ({"allowed_models": [1.5, {}]}, "allowed_models"),
        ({"allowed_networks": ["everywhere"]}, "allowed_networks"),
        ({"priority": "interactive"}, "priority"),
        ({"expires": "2090-01-01T00:00:00Z"}, "expires"),
    ],
)
def test_keys_that_are_not_issued(olga: Ask, stranger: User, body: dict[str, Any], field: str):
    do_create_team("Speech", acting_user=None)
    before = ApiKey.objects.count()
    answer = olga("POST", "keys/", body)
    assert (answer.status_code, [*answer.json()]) == (400, [field])
    assert ApiKey.objects.count() == before


def test_whose_keys_one_sees_and_revokes(olga: Ask, mia: User, adam: User, team: Team, stranger: User):
    theirs, private = do_issue_key(mia, team=team, acting_user=None), do_issue_key(mia, acting_user=None)
    other = do_issue_key(stranger, acting_user=None)
    as_mia, as_adam = by_key(managing_key(mia)), by_key(managing_key(adam))
    listed = as_adam("GET", "keys/?team=vision").json()["results"]
    assert [key["prefix"] for key in listed] == [theirs.row.prefix]
    assert as_mia("GET", "keys/?team=vision").status_code == 403
    assert {key["prefix"] for key in as_mia("GET", "keys/").json()["results"]} >= {
        theirs.row.prefix, private.row.prefix,
    }  # fmt: skip
    for hidden in (private, other):
        for action in ("revoke", "rotate"):
            answer = as_adam("POST", f"keys/{hidden.row.pk}/{action}", {})
            assert answer.status_code == 404
            assert answer.json() == as_adam("POST", f"keys/999999/{action}", {}).json()
    assert as_adam("POST", f"keys/{theirs.row.pk}/rotate", {}).status_code == 403
    assert as_adam("POST", f"keys/{theirs.row.pk}/revoke").json()["state"] == "revoked"
    again = as_adam("POST", f"keys/{theirs.row.pk}/revoke")
    assert (again.status_code, again.json()["state"]) == (200, "revoked")
    assert AuditEvent.objects.filter(action="key.revoked").get().actor == adam
    assert ApiKey.objects.get(pk=private.row.pk).is_live()


def test_rotating(olga: Ask, owner: User):
    old = do_issue_key(owner, note="old", acting_user=None)
    answer = olga("POST", f"keys/{old.row.pk}/rotate", {"overlap_hours": 1})
    assert answer.status_code == 201 and keys.is_well_formed(answer.json()["key"])
    old.row.refresh_from_db()
    assert old.row.expires_at is not None and old.row.expires_at <= timezone.now() + timedelta(hours=1)
    for hours in (-1, 2161, "x", None, 1e400):
        assert [*olga("POST", f"keys/{old.row.pk}/rotate", {"overlap_hours": hours}).json()] in (
            ["overlap_hours"], ["detail"],
        )  # fmt: skip
    olga("POST", f"keys/{old.row.pk}/revoke")
    refused = olga("POST", f"keys/{old.row.pk}/rotate", {})
    assert refused.status_code == 400 and "revoked" in refused.json()["detail"][0]


def test_a_leak(olga: Ask, boss_key: Ask, mia: User, team: Team, owner: User, stranger: User):
    for_team, private = do_issue_key(mia, team=team, acting_user=None), do_issue_key(mia, acting_user=None)
    other = do_issue_key(stranger, acting_user=None)
    assert olga("POST", "keys/revoke-all", {"user": "mia"}).json().keys() == {"team"}
    for name in ("sten", "nobody"):
        answer = olga("POST", "keys/revoke-all", {"user": name, "team": "vision"})
        assert (answer.status_code, answer.json()) == (400, {"user": ["There is nobody of this name in the team."]})
    assert olga("POST", "keys/revoke-all", {"user": "mia", "team": "vision"}).json() == {"revoked": 1}
    assert ApiKey.objects.get(pk=private.row.pk).is_live() and not ApiKey.objects.get(pk=for_team.row.pk).is_live()
    assert boss_key("POST", "keys/revoke-all", {"user": "mia"}).json() == {"revoked": 1}
    as_mia = by_key(managing_key(mia))
    assert as_mia("POST", "keys/revoke-all", {"user": "olga", "team": "vision"}).status_code == 403
    assert as_mia("POST", "keys/revoke-all", {}).json() == {"revoked": 1}
    assert as_mia("GET", "me").status_code == 401, "the one that asked was among them"
    assert ApiKey.objects.get(pk=other.row.pk).is_live()


def test_a_platform_admin_issues_to_anybody(boss_key: Ask, mia: User, team: Team):
    assert boss_key("POST", "keys/", {"user": "mia", "team": "vision"}).status_code == 201
    assert ApiKey.objects.for_user(mia).get().team == team


# --- the audit log


def test_who_reads_the_audit_log(olga: Ask, boss_key: Ask, mia: User, adam: User, team: Team, root: User):
    other = do_create_team("Speech", acting_user=None)
    do_issue_key(mia, team=team, note="<b>=1+1</b>", acting_user=root)
    do_issue_key(mia, note="private", acting_user=None)
    everything = boss_key("GET", "audit/?limit=200").json()["results"]
    assert len(everything) == AuditEvent.objects.count()
    seen = olga("GET", "audit/").json()["results"]
    assert {event["team"] for event in seen} == {"vision"} and "private" not in str(seen)
    issued = next(event for event in seen if event["action"] == "key.issued")
    assert (issued["actor"], issued["after"]["note"]) == ("root", "<b>=1+1</b>")
    for user in (mia, adam):
        ask = by_key(managing_key(user))
        assert [ask("GET", path).status_code for path in ("audit/", "audit/?team=vision")] == [403, 403]
    assert olga("GET", f"audit/?team={other.slug}").status_code == 404
    assert [event["action"] for event in boss_key("GET", "audit/?team=speech").json()["results"]] == ["team.created"]
    assert {event["action"] for event in olga("GET", "audit/?action=key.issued").json()["results"]} == {"key.issued"}
