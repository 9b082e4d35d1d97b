"""Service accounts: users that are a team's programs."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.test import Client

from accounts import keys
from accounts.authentication import load_principal
from accounts.models import ApiKey, AuditEvent, Membership, Team, User
from accounts.offboarding import do_offboard_user
from accounts.recovery import do_make_reset_link, do_recover_admin
from accounts.service_accounts import do_create_service_account, do_delete_service_account
from accounts.services import (
    do_add_member,
    do_change_role,
    do_change_user,
    do_create_team,
    do_delete_team,
    do_issue_key,
    do_remove_member,
    do_set_password,
)
from tests.accounts.admin_pages import page
from tests.accounts.test_commands import refused, run


@pytest.fixture
def account(team: Team, owner: User) -> User:
    return do_create_service_account(team, "ci", acting_user=owner)


def test_it_is_the_team_s(account: User, team: Team, last_audit: Callable[[], AuditEvent]):
    assert (account.username, account.service_of, account.role_in(team)) == ("ci@vision", team, "member")
    event = last_audit()
    assert (event.action, event.team, event.actor_name) == ("service_account.created", team, "olga")
    assert event.after == {"username": "ci@vision", "team": "Vision"}
    issued = do_issue_key(account, acting_user=None)
    assert issued.row.team == team, "its keys are for its team without saying so"
    assert load_principal(keys.digest(issued.raw)) is not None


def test_it_has_keys_for_its_team_alone(account: User, owner: User):
    with pytest.raises(ValidationError) as error:
        do_issue_key(account, team=do_create_team("Speech", acting_user=None), acting_user=None)
    assert "service account of team Vision" in error.value.message_dict["team"][0]
    key = ApiKey(user=account, prefix="sk-atelier-none", digest="0" * 64)
    with pytest.raises(ValidationError) as error:
        key.full_clean()
    assert "team" in error.value.message_dict


def test_it_stays_in_its_team_as_a_member(account: User, team: Team):
    membership = Membership.objects.get(user=account)
    for role in ("owner", "admin", "viewer"):
        with pytest.raises(ValidationError) as error:
            do_change_role(membership, role, acting_user=None)
        assert "role" in error.value.message_dict
    with pytest.raises(ValidationError):
        do_remove_member(membership, acting_user=None)
    with pytest.raises(ValidationError) as error:
        do_add_member(do_create_team("Speech", acting_user=None), account, acting_user=None)
    assert "user" in error.value.message_dict
    assert Membership.objects.get(user=account).role == "member"


@pytest.mark.parametrize("change", [{"is_staff": True}, {"is_superuser": True}, {"email": "ci@example.org"}], ids=str)
def test_it_is_never_more(account: User, change: dict[str, Any]):
    with pytest.raises(ValidationError, match="neither staff nor superuser"):
        do_change_user(account, **change, acting_user=None)
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.filter(pk=account.pk).update(**change)


def test_it_has_no_password(account: User):
    with pytest.raises(ValidationError, match="no password"):
        do_set_password(account, "open sesame", acting_user=None)
    account.set_password("open sesame")
    with pytest.raises(IntegrityError), transaction.atomic():
        account.save()
    assert not Client().login(username="ci@vision", password="open sesame")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 49, "a\0", "ci@vision", "<b>", "\ud800", "ci\n"])
def test_names_that_it_can_not_have(team: Team, name: str):
    with pytest.raises(ValidationError) as error:
        do_create_service_account(team, name, acting_user=None)
    assert "name" in error.value.message_dict
    assert not User.objects.filter(service_of=team).exists()


def test_two_teams_may_call_theirs_alike(account: User, team: Team):
    other = do_create_team("Speech", acting_user=None)
    assert do_create_service_account(other, "ci", acting_user=None).username == "ci@speech"
    with pytest.raises(ValidationError) as error:
        do_create_service_account(team, "ci", acting_user=None)
    assert "ci@vision" in error.value.message_dict["name"][0]


def test_removing_it_stops_its_keys_and_keeps_its_name(account: User, owner: User):
    key = do_issue_key(account, acting_user=None)
    do_delete_service_account(account, acting_user=owner)
    account.refresh_from_db()
    assert not account.is_active and ApiKey.objects.get().is_revoked()
    assert load_principal(keys.digest(key.raw)) is None
    assert [event.action for event in AuditEvent.objects.order_by("-pk")[:2]] == [
        "key.revoked", "service_account.deleted",
    ]  # fmt: skip
    with pytest.raises(ValidationError, match="already"):
        do_delete_service_account(account, acting_user=owner)
    with pytest.raises(ValidationError, match="no service account"):
        do_delete_service_account(owner, acting_user=owner)


def test_a_team_that_had_one_stays(account: User, team: Team):
    do_delete_service_account(account, acting_user=None)
    with pytest.raises(ValidationError, match="has to stay"):
        do_delete_team(team, acting_user=None)


def test_on_the_command_line(team: Team):
    assert run("createuser", "ci", "--service", "--team", "Vision") == (
        "Created service account ci@vision of team Vision.\n"
    )
    assert run("createkey", "--user", "ci@vision", "--quiet").startswith("sk-atelier-")
    assert ApiKey.objects.get().team == team


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ci", "--service"], "--team"),
        (["ci", "--service", "--team", "None"], "no team 'None'"),
        (["ci", "--service", "--team", "Vision", "--admin"], "no admin"),
        (["ci", "--service", "--team", "Vision", "--email", "a@b.example"], "no --email"),
        (["c i", "--service", "--team", "Vision"], "NAME"),
    ],
)
def test_what_the_command_refuses(team: Team, arguments: list[str], says: str):
    assert says in refused("createuser", *arguments)
    assert not User.objects.exclude(service_of=None).exists()


def test_the_admin_shows_it_and_gives_it_no_password(boss: Client, account: User, team: Team):
    assert "ci@vision" in boss.get(page("user", "changelist")).content.decode()
    assert "Service account" in boss.get(page("user", "change", account.pk)).content.decode()
    answer = boss.post(
        f"/admin/accounts/user/{account.pk}/password/",
        {"usable_password": "true", "password1": "battery staple 7", "password2": "battery staple 7"},
    )
    assert answer.status_code == 200 and "Nobody signs in as a service account" in answer.content.decode()
    account.refresh_from_db()
    assert not account.has_usable_password()
    # Its membership is nobody's to edit.
    assert "ci@vision" not in boss.get(page("team", "change", team.pk)).content.decode()


def test_there_is_no_way_into_it(account: User):
    for verb in (do_make_reset_link, do_offboard_user):
        with pytest.raises(ValidationError, match="is a service account"):
            verb(account, acting_user=None)
    with pytest.raises(ValidationError, match="neither staff nor superuser"):
        do_recover_admin(account.username)
    account.refresh_from_db()
    assert account.is_active and not account.has_usable_password()
