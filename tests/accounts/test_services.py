import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.conf import global_settings
from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections, transaction
from django.utils import timezone

from accounts import keys, services
from accounts.first_run import do_create_first_admin
from accounts.models import ApiKey, AuditEvent, Membership, Team, User
from accounts.services import IssuedKey

LastAudit = Callable[[], AuditEvent]


def whole_audit_log() -> str:
    return json.dumps(list(AuditEvent.objects.values()), cls=DjangoJSONEncoder)


# --- Users


def test_creating_a_user_is_audited(root: User, last_audit: LastAudit):
    user = services.do_create_user("anna", password="hush-hush-hush", email="anna@example.org", acting_user=root)
    assert user.check_password("hush-hush-hush")
    assert not user.is_superuser
    event = last_audit()
    assert (event.action, event.actor, event.target_id) == ("user.created", root, str(user.pk))
    assert event.after == {"username": "anna", "email": "anna@example.org", "is_admin": False}
    assert "hush-hush-hush" not in whole_audit_log()
    assert user.password not in whole_audit_log()


@pytest.mark.parametrize("name", ["olga", "two words", "", "x" * 151])
def test_a_bad_or_taken_name_is_refused(owner: User, name: str):
    with pytest.raises(ValidationError) as refused:
        services.do_create_user(name, password="hush-hush-hush", acting_user=None)
    assert "username" in refused.value.message_dict


def test_a_change_holds_before_and_after(root: User, owner: User, last_audit: LastAudit):
    services.do_change_user(owner, email="olga@example.org", is_active=False, acting_user=root)
    owner.refresh_from_db()
    assert (owner.email, owner.is_active) == ("olga@example.org", False)
    event = last_audit()
    assert event.before == {"email": "", "is_active": True}
    assert event.after == {"email": "olga@example.org", "is_active": False}


def test_a_password_is_no_ordinary_field(owner: User):
    with pytest.raises(ValueError, match="password"):
        services.do_change_user(owner, password="hush", acting_user=None)
    owner.refresh_from_db()
    assert owner.check_password("battery staple")


def test_setting_a_password_is_audited_without_it(root: User, owner: User, last_audit: LastAudit):
    services.do_set_password(owner, "hush-hush-hush", acting_user=root)
    owner.refresh_from_db()
    assert owner.check_password("hush-hush-hush")
    assert (last_audit().action, last_audit().actor) == ("user.password_set", root)
    assert "hush" not in whole_audit_log()
    services.do_set_password(owner, None, acting_user=root)
    assert last_audit().after == {"password_is_set": False}


def test_deleting_a_user_deletes_its_keys_alone(root: User, issued: IssuedKey, stranger: User, last_audit: LastAudit):
    other = services.do_issue_key(stranger, acting_user=None)
    services.do_delete_user(issued.row.user, acting_user=root)
    assert list(ApiKey.objects.all()) == [other.row]
    event = last_audit()
    assert (event.action, event.target_label) == ("user.deleted", "olga")
    assert event.before == {"username": "olga", "keys": [issued.row.prefix], "invitations": 0}


# --- Teams


def test_creating_a_team_makes_its_slug(root: User, last_audit: LastAudit):
    team = services.do_create_team("Speech & Vision", acting_user=root)
    assert team.slug == "speech-vision"
    assert (last_audit().action, last_audit().after) == ("team.created", {"name": "Speech & Vision"})


@pytest.mark.parametrize("name", ["Vision", "vision!", "!!!", ""])
def test_a_bad_or_taken_team_name_is_refused(team: Team, name: str):
    with pytest.raises(ValidationError) as refused:
        services.do_create_team(name, acting_user=None)
    assert "name" in refused.value.message_dict


def test_renaming_a_team_keeps_its_slug(team: Team, last_audit: LastAudit):
    services.do_change_team(team, name="Sight", acting_user=None)
    team.refresh_from_db()
    assert (team.name, team.slug) == ("Sight", "vision")
    assert (last_audit().before, last_audit().after) == ({"name": "Vision"}, {"name": "Sight"})


def test_an_unused_team_can_be_deleted(team: Team, last_audit: LastAudit):
    services.do_delete_team(team, acting_user=None)
    assert not Team.objects.exists()
    assert last_audit().before == {"name": "Vision", "members": ["olga"]}


def test_a_team_with_keys_stays(issued: IssuedKey, team: Team):
    with pytest.raises(ValidationError, match="Vision"):
        services.do_delete_team(team, acting_user=None)
    assert Team.objects.filter(pk=team.pk).exists()


def test_a_member_joins_once(team: Team, owner: User, stranger: User, last_audit: LastAudit):
    services.do_add_member(team, stranger, role="viewer", acting_user=owner)
    assert last_audit().after == {"user": "sten", "team": "Vision", "role": "viewer"}
    with pytest.raises(ValidationError):
        services.do_add_member(team, stranger, acting_user=owner)
    assert team.memberships.count() == 2


def test_an_unknown_role_is_refused(team: Team, owner: User, stranger: User):
    with pytest.raises(ValidationError) as refused:
        services.do_add_member(team, stranger, role="emperor", acting_user=None)
    assert "role" in refused.value.message_dict
    with pytest.raises(ValidationError):
        services.do_change_role(Membership.objects.get(user=owner), "emperor", acting_user=None)


def test_a_role_changes(team: Team, owner: User, last_audit: LastAudit):
    membership = Membership.objects.get(user=owner)
    services.do_change_role(membership, "member", acting_user=None)
    membership.refresh_from_db()
    assert membership.role == "member"
    assert (last_audit().before, last_audit().after) == ({"role": "owner"}, {"role": "member"})


def test_leaving_a_team_revokes_the_keys_for_it_alone(issued: IssuedKey, owner: User):
    own = services.do_issue_key(owner, note="no team", acting_user=None)
    services.do_remove_member(Membership.objects.get(user=owner), acting_user=None)
    assert list(ApiKey.objects.live()) == [own.row]
    assert not owner.memberships.exists()


# --- Keys


def test_issuing_stores_the_digest_alone(root: User, owner: User, team: Team, last_audit: LastAudit):
    issued = services.do_issue_key(owner, note="laptop", team=team, acting_user=root)
    assert keys.is_well_formed(issued.raw)
    stored = ApiKey.objects.values().get()
    assert stored["digest"] == keys.digest(issued.raw)
    assert stored["prefix"] == issued.raw[:15]
    assert issued.raw not in str(stored)
    assert issued.raw not in repr(issued)
    event = last_audit()
    assert (event.action, event.actor) == ("key.issued", root)
    assert event.after is not None
    assert event.after["note"] == "laptop"
    assert issued.raw not in whole_audit_log()
    assert stored["digest"] not in whole_audit_log()


def test_a_key_s_state(owner: User):
    hour = timedelta(hours=1)
    row = services.do_issue_key(owner, expires_at=timezone.now() + hour, acting_user=None).row
    assert row.is_live()
    assert ApiKey.objects.live().count() == 1
    ApiKey.objects.update(created_at=timezone.now() - 2 * hour, expires_at=timezone.now() - hour)
    row.refresh_from_db()
    assert (row.is_expired(), row.is_live(), row.state()) == (True, False, "expired")
    assert ApiKey.objects.live().count() == 0
    assert ApiKey.objects.unrevoked().count() == 1
    services.do_revoke_key(row, acting_user=None)
    row.refresh_from_db()
    assert (row.is_revoked(), row.state()) == (True, "revoked")
    assert ApiKey.objects.unrevoked().count() == 0


def test_a_deactivated_user_s_key_rests(owner: User):
    row = services.do_issue_key(owner, acting_user=None).row
    services.do_change_user(owner, is_active=False, acting_user=None)
    row = ApiKey.objects.get(pk=row.pk)
    assert row.state() == "inactive"
    assert not ApiKey.objects.live().exists()
    services.do_change_user(owner, is_active=True, acting_user=None)
    assert ApiKey.objects.live().get() == row


def test_a_key_for_another_s_team_is_refused(team: Team, stranger: User):
    with pytest.raises(ValidationError) as refused:
        services.do_issue_key(stranger, team=team, acting_user=None)
    assert refused.value.message_dict == {"team": ["sten is not in team Vision; add the user to it first."]}


def test_a_key_that_has_expired_already_is_refused(owner: User):
    with pytest.raises(ValidationError) as refused:
        services.do_issue_key(owner, expires_at=timezone.now() - timedelta(seconds=1), acting_user=None)
    assert "expires_at" in refused.value.message_dict


def test_a_key_for_an_inactive_user_is_refused(owner: User):
    services.do_change_user(owner, is_active=False, acting_user=None)
    with pytest.raises(ValidationError) as refused:
        services.do_issue_key(User.objects.get(pk=owner.pk), acting_user=None)
    assert "user" in refused.value.message_dict


def test_revoking_works_once(root: User, issued: IssuedKey, last_audit: LastAudit):
    assert services.do_revoke_key(issued.row, acting_user=root)
    assert (last_audit().action, last_audit().actor) == ("key.revoked", root)
    rows = AuditEvent.objects.count()
    assert not services.do_revoke_key(issued.row, acting_user=root)
    assert AuditEvent.objects.count() == rows
    assert not ApiKey.objects.get().is_live()


def test_revoking_all_leaves_others_alone(issued: IssuedKey, owner: User, stranger: User):
    services.do_issue_key(owner, acting_user=None)
    other = services.do_issue_key(stranger, acting_user=None)
    assert services.do_revoke_all_keys(owner, acting_user=owner) == 2
    assert services.do_revoke_all_keys(owner, acting_user=owner) == 0
    assert list(ApiKey.objects.live()) == [other.row]
    assert list(ApiKey.objects.live().for_user(stranger)) == [other.row]
    assert AuditEvent.objects.filter(action="key.revoked").count() == 2


def test_what_is_rolled_back_leaves_no_trace(owner: User):
    before = AuditEvent.objects.count()
    with pytest.raises(RuntimeError), transaction.atomic():
        services.do_issue_key(owner, acting_user=None)
        raise RuntimeError("after the service")
    assert not ApiKey.objects.exists()
    assert AuditEvent.objects.count() == before


# --- The first run


def test_the_first_run_makes_an_admin_with_a_key(db: None):
    first = do_create_first_admin()
    assert first is not None
    admin = User.objects.get()
    assert (admin.username, admin.is_superuser, admin.is_staff) == ("admin", True, True)
    assert admin.check_password(first.password)
    key = ApiKey.objects.live().get()
    assert key.digest == keys.digest(first.key)
    assert key.team == admin.own_team
    assert first.password not in whole_audit_log()
    assert first.key not in whole_audit_log()
    assert first.key not in repr(first)
    assert first.password not in repr(first)


def test_there_is_one_first_run(db: None):
    do_create_first_admin()
    assert do_create_first_admin() is None
    assert ApiKey.objects.count() == 1


def test_with_any_user_there_is_no_first_run(owner: User):
    assert do_create_first_admin() is None
    assert User.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_several_first_runs_at_once_one_creates(settings: Any):
    # The slow real hasher lies between looking for users and creating one, so that all four look before any creates.
    settings.PASSWORD_HASHERS = global_settings.PASSWORD_HASHERS
    together = threading.Barrier(4)

    def run(_number: int) -> Any:
        try:
            together.wait(timeout=60)
            return do_create_first_admin()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        created = [first for first in pool.map(run, range(4)) if first]
    assert len(created) == 1
    assert ApiKey.objects.get().digest == keys.digest(created[0].key)
