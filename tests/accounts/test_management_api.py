"""The management API: who comes in, and what can be asked at all."""

from typing import Any

import pytest
from django.test import Client

from accounts.models import AuditEvent, Team, User
from accounts.service_accounts import do_create_service_account
from accounts.services import (
    do_change_user,
    do_issue_key,
    do_revoke_key,
)
from tests.accounts.managing import CHECKED, Ask, by_header, by_key, managing_key

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
