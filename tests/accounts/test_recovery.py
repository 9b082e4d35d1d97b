"""Links for a new password, a lost admin, and people who leave."""

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections
from django.test import Client
from django.utils import timezone

from accounts.invitations import do_invite
from accounts.models import ApiKey, AuditEvent, Invitation, Team, UsageRecord, User
from accounts.offboarding import do_offboard_user
from accounts.recovery import do_make_reset_link, do_recover_admin, do_remove_second_factor
from accounts.services import IssuedKey, do_change_user, do_create_user, do_delete_user, do_set_password
from tests.accounts.admin_pages import change_form, database_dump, page, signed_in, staff
from tests.accounts.commands import refused, run
from tests.accounts.sign_in_pages import sign_in, signed_in_as

NEW = "a long enough pass phrase"
FORM = {"new_password1": NEW, "new_password2": NEW}


def add_second_factor(user: User) -> None:
    TOTP.activate(user, generate_totp_secret())
    RecoveryCodes.activate(user)


def whole_audit_log() -> str:
    return json.dumps(list(AuditEvent.objects.values()), cls=DjangoJSONEncoder)


# --- Links for a new password


def test_a_link_sets_a_password_once(client: Client, owner: User, root: User, caplog: Any):
    link = do_make_reset_link(owner, acting_user=root)
    token = link.split("/")[3]
    answer = client.get(link)
    assert answer.status_code == 302 and token not in answer["Location"]
    form = client.get(answer["Location"])
    assert "olga" in form.content.decode() and token not in form.content.decode()
    assert (answer["Referrer-Policy"], form["Referrer-Policy"]) == ("no-referrer", "same-origin")
    for each in (answer, form):
        assert "no-store" in each["Cache-Control"]
    assert client.post(answer["Location"], FORM)["Location"] == "/account/login/"
    owner.refresh_from_db()
    assert owner.check_password(NEW)
    made, used = AuditEvent.objects.filter(target_label="olga").order_by("-pk")[:2][::-1]
    assert (made.action, made.actor, used.action, used.actor) == (
        "user.reset_link_made",
        root,
        "user.password_set",
        owner,
    )
    assert token not in whole_audit_log() and token not in caplog.text
    for again in (client, Client()):
        assert "can't be used" in again.get(link, follow=True).content.decode()
    sign_in(client, "olga", NEW)
    assert signed_in_as(client) == owner


def test_a_link_is_void_after_a_day_another_password_or_a_sign_in(client: Client, owner: User, settings: Any):
    def is_void(link: str) -> bool:
        return "can't be used" in Client().get(link, follow=True).content.decode()

    link = do_make_reset_link(owner, acting_user=None)
    assert not is_void(link)
    settings.PASSWORD_RESET_TIMEOUT = -1
    assert is_void(link)
    settings.PASSWORD_RESET_TIMEOUT = 60
    sign_in(client, "olga", "battery staple")
    assert is_void(link)
    owner.refresh_from_db()
    link = do_make_reset_link(owner, acting_user=None)
    do_set_password(owner, NEW, acting_user=None)
    assert is_void(link)
    link = do_make_reset_link(owner, acting_user=None)
    do_change_user(owner, is_active=False, acting_user=None)
    assert is_void(link)
    owner.refresh_from_db()
    with pytest.raises(ValidationError, match="olga is inactive"):
        do_make_reset_link(owner, acting_user=None)


@pytest.mark.parametrize(
    "given", [("short", "short"), (NEW, NEW + "!"), ("\0" * 12, "\0" * 12), ("olga-olga-olga", "olga"), ("", "")]
)
def test_bad_passwords_leave_the_link_good(client: Client, owner: User, given: tuple[str, str]):
    path = client.get(do_make_reset_link(owner, acting_user=None))["Location"]
    answer = client.post(path, {"new_password1": given[0], "new_password2": given[1]})
    assert answer.status_code == 200 and answer.context["form"].errors
    assert client.post(path, FORM).status_code == 302


@pytest.mark.parametrize(
    "path", ["x/y", "MQ/x-y", "%00/%00", "MQ/" + "x" * 5000, "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5/a-b"]
)
def test_links_that_never_were(client: Client, owner: User, path: str):
    assert "can't be used" in client.get(f"/password/{path}/", follow=True).content.decode()


def test_a_link_does_not_open_the_second_factor(client: Client, owner: User):
    add_second_factor(owner)
    client.post(client.get(do_make_reset_link(owner, acting_user=None))["Location"], FORM)
    assert sign_in(client, "olga", NEW)["Location"] == "/account/2fa/authenticate/"
    assert signed_in_as(client) is None


def test_resetlink_prints_it(client: Client, owner: User, settings: Any):
    settings.PUBLIC_URL = "https://atelier.example.org"
    output = run("resetlink", "olga")
    link = re.search(r"Link \(shown only now\): https://atelier.example.org(/password/\S+)\n", output)
    assert link is not None and "24 hours" in output
    assert client.get(link[1]).status_code == 302
    assert refused("resetlink", "nobody").startswith("NAME: ")
    User.objects.update(is_active=False)
    assert "olga is inactive" in refused("resetlink", "olga")


def choose(action: str, *users: User, **more: str) -> dict[str, Any]:
    return {"action": action, "_selected_action": [user.pk for user in users], **more}


def test_the_admin_shows_a_link_once(boss: Client, root: User, owner: User, client: Client):
    boss.post(page("user", "changelist"), choose("reset_link", owner))
    shown = boss.get(page("user", "changelist")).content.decode()
    (link,) = set(re.findall(r"http://testserver(/password/[\w-]+/[\w-]+/)", shown))
    assert link not in boss.get(page("user", "changelist")).content.decode()
    assert link.split("/")[3] not in database_dump()
    assert client.get(link).status_code == 302
    assert AuditEvent.objects.get(action="user.reset_link_made").actor == root


def test_the_admin_removes_a_second_factor(boss: Client, root: User, owner: User, stranger: User):
    add_second_factor(owner)
    boss.post(page("user", "changelist"), choose("remove_second_factor", owner, stranger))
    assert not Authenticator.objects.exists()
    event = AuditEvent.objects.get(action="user.second_factor_removed")
    assert (event.actor, event.before) == (root, {"factors": ["totp", "recovery_codes"]})


@pytest.mark.parametrize("action", ["reset_link", "remove_second_factor", "offboard"])
def test_staff_can_do_nothing_to_a_superuser(root: User, action: str):
    add_second_factor(root)
    client = signed_in(staff("view_user", "change_user"))
    before = AuditEvent.objects.count()
    shown = client.post(page("user", "changelist"), choose(action, root, confirmed="yes"), follow=True)
    assert "Only a superuser" in shown.content.decode()
    assert AuditEvent.objects.count() == before
    viewer = do_create_user("viewer", password=None, acting_user=None)
    viewer.is_staff = True
    viewer.save()
    viewer.user_permissions.set(User.objects.get(username="staff").user_permissions.filter(codename="view_user"))
    signed_in(viewer).post(page("user", "changelist"), choose(action, root, confirmed="yes"))
    root.refresh_from_db()
    assert root.is_active and Authenticator.objects.filter(user=root).count() == 2


# --- A lost admin


def test_a_lost_admin_comes_back(client: Client, root: User):
    add_second_factor(root)
    User.objects.update(is_active=False, is_staff=False, is_superuser=False)
    output = run("recoveradmin", "root")
    password = re.search(r"Password \(shown only now\): (\S+)\n", output)
    assert password is not None and output.startswith("Recovered admin root;")
    assert sign_in(client, "root", password[1])["Location"] == "/admin/"
    assert client.get("/admin/accounts/user/").status_code == 200
    assert password[1] not in whole_audit_log()
    assert AuditEvent.objects.get(action="user.recovered").after == {"is_new": False}
    assert not Authenticator.objects.exists()


def test_an_admin_is_made_where_there_is_none(db: None):
    assert run("recoveradmin").startswith("Created admin admin;")
    admin = User.objects.get()
    assert (admin.username, admin.is_superuser, admin.is_active) == ("admin", True, True)
    assert admin.own_team.name == "admin"
    run("recoveradmin", "second")
    assert User.objects.filter(is_superuser=True).count() == 2
    assert refused("recoveradmin", "two words").startswith("NAME: ")
    assert refused("recoveradmin", "ADMIN").startswith("NAME: ")
    assert User.objects.count() == 2


def test_a_recovered_password_shows_nowhere(root: User):
    assert do_recover_admin("root").password not in repr(do_recover_admin("root"))


# --- Somebody leaves


def test_who_is_offboarded_can_do_nothing_and_is_remembered(
    client: Client, root: User, owner: User, team: Team, issued: IssuedKey, record: UsageRecord,
    django_capture_on_commit_callbacks: Any,
):  # fmt: skip
    invitation = do_invite(team, acting_user=owner).row
    link = do_make_reset_link(owner, acting_user=root)
    add_second_factor(owner)
    browser = signed_in(owner)
    with django_capture_on_commit_callbacks() as said:
        done = do_offboard_user(owner, acting_user=root)
    assert (done.keys, done.teams, done.invitations) == (1, ["Vision"], 1)
    assert {call.args[0] for call in said} == {"user.changed", "key.revoked"}
    owner.refresh_from_db()
    assert not owner.is_active and not owner.has_usable_password() and not owner.memberships.exists()
    assert not ApiKey.objects.live().exists() and ApiKey.objects.get().is_revoked()
    invitation.refresh_from_db()
    assert invitation.state() == "revoked"
    assert signed_in_as(browser) is None
    assert "can't be used" in client.get(link, follow=True).content.decode()
    record.refresh_from_db()
    assert (record.user, record.username) == (owner, "olga")
    event = AuditEvent.objects.get(action="user.offboarded")
    assert (event.actor, event.target_label) == (root, "olga")
    assert event.after == {"keys_revoked": 1, "teams": ["Vision"], "invitations_revoked": 1}
    # Nothing comes back with the user.
    do_change_user(owner, is_active=True, acting_user=root)
    assert signed_in_as(browser) is None
    assert not ApiKey.objects.live().exists() and not Authenticator.objects.exists()


def test_an_admin_who_leaves_is_no_admin_any_more(root: User):
    other = do_create_user("other", password=None, is_admin=True, acting_user=None)
    do_offboard_user(other, acting_user=root)
    do_change_user(other, is_active=True, acting_user=root)
    other.refresh_from_db()
    assert not other.is_superuser and not other.is_staff


def test_the_last_admin_stays(boss: Client, root: User, owner: User):
    do_create_user("resting", password=None, is_admin=True, acting_user=None)
    User.objects.filter(username="resting").update(is_active=False)
    for act in (
        lambda: do_offboard_user(root, acting_user=None),
        lambda: do_delete_user(root, acting_user=None),
        lambda: do_change_user(root, is_active=False, acting_user=None),
        lambda: do_change_user(root, is_superuser=False, acting_user=None),
    ):
        with pytest.raises(ValidationError, match="root is the last active admin"):
            act()
    assert "root is the last active admin" in refused("offboard", "root")
    shown = boss.post(page("user", "changelist"), choose("offboard", root, confirmed="yes"), follow=True)
    assert "root is the last active admin" in shown.content.decode()
    form = change_form(boss, root)
    form.pop("is_superuser")
    assert "last active admin" in boss.post(page("user", "change", root.pk), form).content.decode()
    boss.post(page("user", "delete", root.pk), {"post": "yes"})
    boss.post(page("user", "changelist"), choose("delete_selected", root, owner, post="yes"))
    root.refresh_from_db()
    assert (root.is_active, root.is_superuser) == (True, True)
    assert User.objects.filter(pk=owner.pk).exists()


def test_the_admin_asks_before_it_offboards(boss: Client, root: User, owner: User, stranger: User, issued: IssuedKey):
    User.objects.filter(pk=stranger.pk).update(username="<b>sten</b>")
    asked = boss.post(page("user", "changelist"), choose("offboard", owner, stranger)).content.decode()
    assert "olga" in asked and "&lt;b&gt;sten" in asked and "<b>sten" not in asked
    assert ApiKey.objects.live().exists()
    shown = boss.post(page("user", "changelist"), choose("offboard", owner, confirmed="yes"), follow=True)
    assert "olga is out; 1 keys were revoked." in shown.content.decode()
    assert AuditEvent.objects.get(action="user.offboarded").actor == root
    stranger.refresh_from_db()
    assert stranger.is_active


def test_offboard_says_what_it_did(owner: User, root: User, issued: IssuedKey, stranger: User):
    assert run("offboard", "olga") == "olga is out: 1 keys and 0 invitations revoked, left Vision.\n"
    assert run("offboard", "sten") == "sten is out: 0 keys and 0 invitations revoked, left no team.\n"
    assert refused("offboard", "nobody").startswith("NAME: ")


def test_without_a_second_factor_there_is_none_to_remove(owner: User):
    before = AuditEvent.objects.count()
    assert not do_remove_second_factor(owner, acting_user=None)
    assert AuditEvent.objects.count() == before


@pytest.mark.django_db(transaction=True)
def test_of_two_admins_who_offboard_each_other_one_stays():
    pair = [do_create_user(name, password=None, is_admin=True, acting_user=None) for name in ("ada", "bob")]
    together = threading.Barrier(2)

    def offboard(user: User) -> bool:
        try:
            together.wait(timeout=60)
            do_offboard_user(user, acting_user=None)
        except ValidationError:
            return False
        finally:
            connections.close_all()
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(offboard, pair)) == [False, True]
    assert User.objects.filter(is_active=True, is_superuser=True).count() == 1


def test_expired_invitations_of_who_leaves_are_revoked_too(owner: User, team: Team):
    do_invite(team, acting_user=owner)
    Invitation.objects.update(expires_at=timezone.now())
    assert do_offboard_user(owner, acting_user=None).invitations == 1
