"""The management API: teams, who is in them, and who is invited."""

from typing import Any

import pytest

from accounts import keys
from accounts.authentication import load_principal
from accounts.invitations import invitation_of
from accounts.models import ApiKey, AuditEvent, Membership, Team, User
from accounts.service_accounts import do_create_service_account
from accounts.services import (
    do_create_team,
    do_issue_key,
)
from tests.accounts.managing import Ask, by_key, managing_key

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


def test_a_team_keeps_an_owner(olga: Ask, boss_key: Ask, mia: User):
    path = "teams/vision/members/"
    for refused in (olga("PATCH", f"{path}olga", {"role": "member"}), olga("DELETE", f"{path}olga")):
        assert refused.status_code == 400 and "is the only owner of Vision" in refused.text
    assert olga("PATCH", f"{path}mia", {"role": "owner"}).status_code == 200
    assert olga("PATCH", f"{path}olga", {"role": "member"}).status_code == 200
    assert boss_key("DELETE", f"{path}mia").status_code == 204, "who can give it another"


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
