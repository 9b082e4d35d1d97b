"""The management API: who comes in, people, keys, the audit log."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts import keys
from accounts.authentication import load_principal
from accounts.invitations import invitation_of
from accounts.models import ApiKey, AuditEvent, Membership, Team, User
from accounts.service_accounts import do_create_service_account
from accounts.services import (
    IssuedKey,
    do_add_member,
    do_change_user,
    do_create_team,
    do_create_user,
    do_issue_key,
    do_revoke_key,
)

Ask = Callable[..., Any]
CHECKED = {"enforce_csrf_checks": True}


def by_key(key: IssuedKey) -> Ask:
    return by_header(f"Bearer {key.raw}")


def by_header(authorization: str) -> Ask:
    """A program: it has no cookies."""

    def ask(method: str, path: str, body: Any = None, **options: Any) -> Any:
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return Client(**CHECKED).generic(
            method, f"/api/{path}", content, content_type="application/json",
            headers={"authorization": authorization}, **options,
        )  # fmt: skip

    return ask


def managing_key(user: User, **options: Any) -> IssuedKey:
    return do_issue_key(user, scopes=["manage"], acting_user=None, **options)


@pytest.fixture
def olga(owner: User, team: Team) -> Ask:
    """The owner of Vision."""
    return by_key(managing_key(owner, note="manage"))


@pytest.fixture
def boss_key(root: User) -> Ask:
    return by_key(managing_key(root))


@pytest.fixture
def mia(team: Team) -> User:
    user = do_create_user("mia", password=None, acting_user=None)
    do_add_member(team, user, acting_user=None)
    return user


@pytest.fixture
def adam(team: Team) -> User:
    user = do_create_user("adam", password=None, acting_user=None)
    do_add_member(team, user, role="admin", acting_user=None)
    return user


# --- who comes in


def test_without_anything(db: None):
    answer = Client().get("/api/me")
    assert (answer.status_code, answer["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["detail"] and answer["content-type"] == "application/json"


@pytest.mark.parametrize("given", ["Bearer", "Bearer ", "Bearer sk-atelier-x", "Bearer \xff", "bearer " + "x" * 5000])
def test_with_a_key_that_is_none(db: None, given: str):
    assert by_header(given)("GET", "me").status_code == 401


def test_a_revoked_key(owner: User):
    key = managing_key(owner)
    assert by_key(key)("GET", "me").status_code == 200
    do_revoke_key(key.row, acting_user=None)
    assert by_key(key)("GET", "me").status_code == 401


def test_a_usual_key_may_not_manage(owner: User):
    answer = by_key(do_issue_key(owner, acting_user=None))("GET", "me")
    assert answer.status_code == 403 and "`manage`" in answer.json()["detail"]


def test_a_key_in_the_other_header(owner: User):
    key = managing_key(owner)
    assert Client().get("/api/me", headers={"x-api-key": key.raw}).json()["key"] == key.row.prefix


def test_a_key_from_another_network(owner: User, settings: Any):
    ask = by_key(managing_key(owner, allowed_networks=["10.0.0.0/8"]))
    assert ask("GET", "me").status_code == 403
    assert ask("GET", "me", REMOTE_ADDR="10.1.2.3").status_code == 200
    assert ask("GET", "me", HTTP_X_FORWARDED_FOR="10.1.2.3").status_code == 403, "anybody can say so"


def test_a_session_needs_its_csrf_token_to_change(owner: User, team: Team):
    client = Client(**CHECKED)
    client.force_login(owner)
    assert client.get("/api/me").json() == {
        "username": "olga", "email": "", "is_platform_admin": False, "service_account_of": None, "key": None,
        "teams": [{"team": "vision", "name": "Vision", "role": "owner"}],
    }  # fmt: skip
    change = {"name": "Sight"}
    refused = client.patch("/api/teams/vision/", change, content_type="application/json")
    assert refused.status_code == 403 and "CSRF" in refused.json()["detail"]
    client.get("/account/logout/")
    token = {"x-csrftoken": client.cookies["csrftoken"].value}
    assert client.patch("/api/teams/vision/", change, "application/json", headers=token).status_code == 200
    assert AuditEvent.objects.get(action="team.changed").actor == owner


def test_a_bad_key_is_not_saved_by_a_session(owner: User):
    client = Client()
    client.force_login(owner)
    assert client.get("/api/me", headers={"authorization": "Bearer nonsense"}).status_code == 401


def test_nobody_sits_in_a_service_account_s_session(team: Team):
    client = Client()
    client.force_login(do_create_service_account(team, "ci", acting_user=None))
    assert client.get("/api/me").status_code == 401


def test_an_inactive_user(owner: User, olga: Ask):
    do_change_user(owner, is_active=False, acting_user=None)
    assert olga("GET", "me").status_code == 401


# --- bodies, paths, pages


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"[]", "object"),
        (b"null", "object"),
        (b"{", "JSON"),
        (b'{"name": "\xff"}', ""),
        (b'{"name": NaN}', ""),
        (b"[" * 40_000, "deep"),
        (b'{"name": "' + b"x" * 70_000 + b'"}', "64 KiB"),
        (b'{"name": ' + b"9" * 5000 + b"}", ""),
    ],
)
def test_bodies_that_can_not_be_read(olga: Ask, body: bytes, says: str):
    answer = olga("PATCH", "teams/vision/", body)
    assert answer.status_code == 400 and says in answer.json()["detail"]


def test_a_body_of_another_kind(olga: Ask, owner: User):
    answer = Client().post("/api/keys/", {"note": "x"}, headers={"authorization": f"Bearer {managing_key(owner).raw}"})
    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"colour": "red"}, "colour"),
        ({"name": "a\0b"}, "name"),
        ({"name": "a\ud800"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": None}, "name"),
        ({"name": ["a"]}, "name"),
        ({"name": "!!!"}, None),
        ({"time_zone": "Moon/Sea"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"<script>": 1}, "<script>"),
    ],
)
def test_fields_that_can_not_be(olga: Ask, team: Team, body: dict[str, Any], field: str | None):
    answer = olga("PATCH", "teams/vision/", body)
    if field is None:
        assert answer.status_code == 200, "the slug is made once"
        return
    assert answer.status_code == 400 and list(answer.json()) == [field]
    team.refresh_from_db()
    assert (team.name, team.time_zone) == ("Vision", "")


@pytest.mark.parametrize(
    "path",
    ["", "nothing", "keys", "teams", "teams/../me", "keys/1", "keys/x/revoke", "keys/-1/revoke", "teams/a%00b/", "me/",
     "keys/1234567890123456789/revoke", "teams/vision/members/a%00b", "teams/vision/members/%ff", "teams/%0a/"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_other_paths(olga: Ask, path: str, method: str):
    answer = olga(method, path)
    assert answer.status_code == 404 and answer.json()["detail"]


def test_methods(olga: Ask):
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE"):
        assert olga(method, "keys/").status_code == 405


def test_nothing_is_for_caches(olga: Ask):
    for method, path in (("GET", "me"), ("GET", "keys/"), ("POST", "keys/"), ("GET", "nothing")):
        assert olga(method, path, {})["cache-control"] == "no-store"


def test_pages(owner: User, olga: Ask):
    rows = [do_issue_key(owner, note=str(number), acting_user=None).row for number in range(5)]
    seen, path = [], "keys/?limit=2"
    while path:
        answer = olga("GET", path).json()
        seen += [key["note"] for key in answer["results"]]
        path = answer["next"] and answer["next"].partition("/api/")[2]
    assert seen == ["4", "3", "2", "1", "0", "manage"] and rows


@pytest.mark.parametrize("cursor", ["x", "%00", "cD1hYmM=", "cD05OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "cD0xJTAw", "r=1"])
def test_cursors_that_are_none(olga: Ask, cursor: str):
    """p=abc, p=99999999999999999999999999, p=1%00 among them."""
    assert olga("GET", f"keys/?cursor={cursor}").status_code in (200, 404)
    if cursor.startswith("cD"):
        assert olga("GET", f"keys/?cursor={cursor}").status_code == 404


@pytest.mark.parametrize("team", ["%00", "x" * 300, "%0a", "' or 1=1 --", "other"])
def test_a_team_to_ask_for_that_is_none(olga: Ask, team: str):
    for path in ("keys/", "audit/"):
        assert olga("GET", f"{path}?team={team}").status_code in (400, 404)


# --- teams and who is in them


def test_teams(olga: Ask, boss_key: Ask, stranger: User):
    do_create_team("Speech", acting_user=None)
    assert [team["slug"] for team in olga("GET", "teams/").json()["results"]] == ["vision"]
    assert [team["slug"] for team in boss_key("GET", "teams/").json()["results"]] == ["speech", "vision"]
    assert by_key(managing_key(stranger))("GET", "teams/").json()["results"] == []
    assert olga("GET", "teams/vision/").json()["name"] == "Vision"
    assert olga("GET", "teams/speech/").json() == olga("GET", "teams/none/").json()


def test_changing_a_team(olga: Ask, team: Team, mia: User, adam: User):
    answer = olga("PATCH", "teams/vision/", {"name": "Sight", "time_zone": "Europe/Berlin"})
    assert (answer.status_code, answer.json()["slug"]) == (200, "vision")
    team.refresh_from_db()
    assert (team.name, team.time_zone) == ("Sight", "Europe/Berlin")
    for user in (mia, adam):
        answer = by_key(managing_key(user))("PATCH", "teams/vision/", {"name": "Mine"})
        assert answer.status_code == 403 and "team.change" in answer.json()["detail"]


def test_creating_a_team(olga: Ask, boss_key: Ask):
    assert olga("POST", "teams/", {"name": "Speech"}).status_code == 403
    assert boss_key("POST", "teams/", {"name": "Speech"}).json()["slug"] == "speech"
    assert "name" in boss_key("POST", "teams/", {"name": "speech!"}).json()


def test_members(olga: Ask, boss_key: Ask, mia: User, adam: User, stranger: User, team: Team):
    do_create_service_account(team, "ci", acting_user=None)
    listed = olga("GET", "teams/vision/members/").json()["results"]
    assert [(each["username"], each["role"]) for each in listed] == [
        ("adam", "admin"), ("mia", "member"), ("olga", "owner"),
    ]  # fmt: skip
    assert olga("POST", "teams/vision/members/", {"username": "sten"}).status_code == 403
    assert boss_key("POST", "teams/vision/members/", {"username": "sten", "role": "viewer"}).status_code == 201
    assert "username" in boss_key("POST", "teams/vision/members/", {"username": "nobody"}).json()
    assert boss_key("POST", "teams/vision/members/", {"username": "sten"}).status_code == 400, "twice"
    assert stranger.role_in(team) == "viewer"


def test_changing_roles(olga: Ask, mia: User, adam: User, team: Team):
    key = do_issue_key(mia, team=team, acting_user=None).row
    as_adam, as_mia = by_key(managing_key(adam)), by_key(managing_key(mia))
    path = "teams/vision/members/"
    assert as_adam("PATCH", f"{path}mia", {"role": "viewer"}).json() == {"username": "mia", "role": "viewer"}
    assert ApiKey.objects.get(pk=key.pk).is_revoked()
    for role in ("admin", "owner"):
        assert as_adam("PATCH", f"{path}mia", {"role": role}).status_code == 403
    for name in ("olga", "adam"):
        assert as_adam("PATCH", f"{path}{name}", {"role": "member"}).status_code == 403
        assert as_adam("DELETE", f"{path}{name}").status_code == 403
    assert as_mia("PATCH", f"{path}mia", {"role": "owner"}).status_code == 403
    assert olga("PATCH", f"{path}mia", {"role": "admin"}).status_code == 200
    assert olga("PATCH", f"{path}mia", {"role": "emperor"}).json().keys() == {"role"}
    assert olga("PATCH", f"{path}nobody", {"role": "member"}).status_code == 404
    event = AuditEvent.objects.filter(action="member.role_changed").first()
    assert event is not None and (event.actor_name, event.team, event.after) == ("olga", team, {"role": "admin"})


def test_removing_a_member(olga: Ask, mia: User, adam: User, team: Team):
    key = do_issue_key(mia, team=team, acting_user=None).row
    assert by_key(managing_key(adam))("DELETE", "teams/vision/members/mia").status_code == 204
    assert ApiKey.objects.get(pk=key.pk).is_revoked() and not Membership.objects.filter(user=mia).exists()
    assert olga("DELETE", "teams/vision/members/mia").status_code == 404


def test_service_accounts(olga: Ask, mia: User, team: Team):
    path = "teams/vision/service-accounts/"
    made = olga("POST", path, {"name": "ci"})
    assert (made.status_code, made.json()["username"], made.json()["team"]) == (201, "ci@vision", "vision")
    assert olga("POST", path, {"name": "ci"}).json().keys() == {"name"}
    assert [each["username"] for each in olga("GET", path).json()["results"]] == ["ci@vision"]
    as_mia = by_key(managing_key(mia))
    assert [as_mia(*what).status_code for what in (("GET", path), ("POST", path, {"name": "x"}))] == [403, 403]
    assert as_mia("DELETE", f"{path}ci@vision").status_code == 403

    issued = olga("POST", "keys/", {"user": "ci@vision", "note": "nightly"}).json()
    assert (issued["team"], issued["user"]) == ("vision", "ci@vision")
    assert as_mia("POST", "keys/", {"user": "ci@vision"}).json().keys() == {"user"}
    rotated = olga("POST", f"keys/{issued['id']}/rotate", {"overlap_hours": 0})
    assert rotated.status_code == 201 and rotated.json()["note"] == "nightly"
    assert olga("DELETE", "teams/vision/members/ci@vision").status_code == 404, "it is no person"
    assert olga("DELETE", f"{path}ci@vision").status_code == 204
    assert olga("DELETE", f"{path}ci@vision").status_code == 404
    assert load_principal(keys.digest(rotated.json()["key"])) is None
    assert olga("POST", "keys/", {"user": "ci@vision"}).json().keys() == {"user"}


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


# --- invitations


def test_invitations(olga: Ask, mia: User, adam: User, team: Team):
    path = "teams/vision/invitations/"
    as_adam = by_key(managing_key(adam))
    made = as_adam("POST", path, {"role": "viewer", "email": "vera@example.org", "days": 2})
    assert made.status_code == 201
    invitation = invitation_of(made.json()["link"].rstrip("/").rpartition("/")[2])
    assert invitation is not None and (invitation.role, invitation.invited_by) == ("viewer", adam)
    [listed] = olga("GET", path).json()["results"]
    assert listed == {name: value for name, value in made.json().items() if name != "link"}
    for role in ("owner", "admin"):
        assert as_adam("POST", path, {"role": role}).status_code == 403
    owners = olga("POST", path, {"role": "owner"}).json()
    assert as_adam("DELETE", f"{path}{owners['id']}").status_code == 403
    as_mia = by_key(managing_key(mia))
    assert [as_mia(*what).status_code for what in (("GET", path), ("DELETE", f"{path}{listed['id']}"))] == [403, 403]
    assert as_adam("DELETE", f"{path}{listed['id']}").status_code == 204
    assert olga("GET", path).json()["results"][1]["state"] == "revoked"
    assert olga("DELETE", f"{path}999999").status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"role": "emperor"}, "role"),
        ({"email": "nobody"}, "email"),
        ({"email": "a@b.example\r\nbcc: c"}, "email"),
        ({"days": 0}, "days"),
        ({"days": 366}, "days"),
        ({"days": 1e99}, "days"),
    ],
)
def test_invitations_that_can_not_be(olga: Ask, body: dict[str, Any], field: str):
    answer = olga("POST", "teams/vision/invitations/", body)
    assert (answer.status_code, [*answer.json()]) == (400, [field])
