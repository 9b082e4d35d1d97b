"""Invitations: the verbs, the page that a link leads to, the admin and the command."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.test import Client
from django.utils import timezone

from accounts import invitations
from accounts.invitations import IssuedInvitation, do_accept_as_new_user, do_accept_invitation, do_invite
from accounts.models import AuditEvent, Invitation, Membership, Team, User
from tests.accounts.admin_pages import database_dump, page, signed_in, staff
from tests.accounts.commands import refused, run
from tests.accounts.sign_in_pages import acts, signed_in_as

PASSWORD = "a long enough pass phrase"
NEW = {"username": "nina", "password1": PASSWORD, "password2": PASSWORD}


@pytest.fixture
def invited(team: Team, owner: User) -> IssuedInvitation:
    return do_invite(team, role="admin", email="nina@example.org", acting_user=owner)


def token_of(invited: IssuedInvitation) -> str:
    return invited.path.split("/")[2]


# --- The verbs


def test_an_invitation_is_kept_without_its_link(invited: IssuedInvitation, owner: User):
    token = token_of(invited)
    assert len(token) >= 43, "256 random bits"
    assert token not in database_dump() and token not in repr(invited)
    assert timedelta(days=6.9) < invited.row.expires_at - timezone.now() < timedelta(days=7)
    event = AuditEvent.objects.get(action="invitation.made")
    assert event.actor == owner and event.after is not None
    assert (event.after["team"], event.after["role"], event.after["email"]) == ("Vision", "admin", "nina@example.org")
    assert invited.row.digest not in json.dumps(event.after, cls=DjangoJSONEncoder)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"role": "emperor"}, "role"),
        ({"email": "nowhere"}, "email"),
        ({"email": "a\0@example.org"}, "email"),
        ({"email": f"{'x' * 10_000}@example.org"}, "email"),
        ({"lifetime": timedelta(0)}, "expires_at"),
        ({"lifetime": -timedelta(days=1)}, "expires_at"),
        ({"lifetime": timedelta(days=366)}, "expires_at"),
    ],
)
def test_what_can_t_be_is_refused(team: Team, given: dict[str, Any], field: str):
    with pytest.raises(ValidationError) as error:
        do_invite(team, acting_user=None, **given)
    assert field in error.value.message_dict
    assert not Invitation.objects.exists()


def test_a_new_user_joins_once(invited: IssuedInvitation, team: Team):
    user = do_accept_as_new_user(invited.row, username="nina", password=PASSWORD)
    assert (user.email, user.is_staff, user.check_password(PASSWORD)) == ("nina@example.org", False, True)
    assert Membership.objects.get(user=user).role == "admin"
    invited.row.refresh_from_db()
    assert (invited.row.state(), invited.row.accepted_by) == ("accepted", user)
    assert AuditEvent.objects.get(action="invitation.accepted").actor == user
    for again in (
        lambda: do_accept_as_new_user(invited.row, username="nora", password=PASSWORD),
        lambda: do_accept_invitation(invited.row, acting_user=user),
    ):
        with pytest.raises(ValidationError, match="can't be used any more"):
            again()
    assert not User.objects.filter(username="nora").exists()


def test_who_is_a_member_leaves_the_invitation_open(invited: IssuedInvitation, owner: User):
    with pytest.raises(ValidationError, match="in the team Vision already"):
        do_accept_invitation(invited.row, acting_user=owner)
    assert Invitation.objects.open().get() == invited.row


def test_an_address_belongs_to_one_user(invited: IssuedInvitation, stranger: User):
    User.objects.filter(pk=stranger.pk).update(email="Nina@example.org")
    with pytest.raises(ValidationError, match="sign in to join"):
        do_accept_as_new_user(invited.row, username="nina", password=PASSWORD)


def over(invited: IssuedInvitation, how: str) -> None:
    if how == "revoked":
        assert invitations.do_revoke_invitation(invited.row, acting_user=None)
        assert not invitations.do_revoke_invitation(invited.row, acting_user=None)
    elif how == "expired":
        Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    else:
        do_accept_as_new_user(invited.row, username="first", password=PASSWORD)


@pytest.mark.parametrize("how", ["revoked", "expired", "accepted"])
def test_what_is_over_can_t_be_accepted(invited: IssuedInvitation, stranger: User, how: str):
    over(invited, how)
    invited.row.refresh_from_db()
    assert invited.row.state() == how
    with pytest.raises(ValidationError, match="can't be used any more"):
        do_accept_invitation(invited.row, acting_user=stranger)
    assert invitations.invitation_of(token_of(invited)) is None


def test_invitations_of_a_deleted_user_are_over(invited: IssuedInvitation, owner: User):
    from accounts.services import do_delete_user

    do_delete_user(owner, acting_user=None)
    invited.row.refresh_from_db()
    assert (invited.row.state(), invited.row.invited_by) == ("revoked", None)


# --- The page


def test_a_link_leads_to_a_page_that_does_not_know_it(client: Client, invited: IssuedInvitation, caplog: Any):
    answer = client.get(invited.path)
    assert (answer.status_code, answer["Location"]) == (302, "/invitation/")
    shown = client.get("/invitation/")
    assert (answer["Referrer-Policy"], shown["Referrer-Policy"]) == ("no-referrer", "same-origin")
    for each in (answer, shown):
        assert "no-store" in each["Cache-Control"]
        assert token_of(invited) not in each.content.decode()
    text = shown.content.decode()
    assert "Join Vision" in text and "olga invites you" in text and "admin" in text
    assert token_of(invited) not in database_dump(), "neither does the session"
    assert token_of(invited) not in caplog.text
    assert Invitation.objects.open().exists(), "looking accepts nothing"


def test_a_new_user_joins_and_is_signed_in(client: Client, invited: IssuedInvitation):
    client.get(invited.path)
    answer = client.post("/invitation/", NEW)
    assert (answer.status_code, answer["Location"]) == (302, "/account/")
    user = User.objects.get(username="nina")
    assert signed_in_as(client) == user
    assert "Vision" in client.get("/account/").content.decode()
    assert client.get("/invitation/").status_code == 410
    assert acts(but=("team.created",)) == [
        "user.created", "member.added", "invitation.made", "user.created", "member.added",
        "invitation.accepted", "user.signed_in",
    ]  # fmt: skip


def test_who_is_signed_in_joins_as_itself(invited: IssuedInvitation, stranger: User):
    browser = signed_in(stranger)
    browser.get(invited.path)
    assert "Join as sten" in browser.get("/invitation/").content.decode()
    assert browser.post("/invitation/", NEW)["Location"] == "/account/"
    assert Membership.objects.get(user=stranger).role == "admin"
    assert not User.objects.filter(username="nina").exists()


def test_signing_in_on_the_way_keeps_the_invitation(client: Client, invited: IssuedInvitation, stranger: User):
    client.get(invited.path)
    form = {"login": "sten", "password": "paper clip", "next": "/invitation/"}
    assert client.post("/account/login/", form)["Location"] == "/invitation/"
    assert client.post("/invitation/")["Location"] == "/account/"
    assert Membership.objects.filter(user=stranger).exists()


def test_a_member_is_told_so(invited: IssuedInvitation, owner: User):
    browser = signed_in(owner)
    browser.get(invited.path)
    assert "in the team Vision already" in browser.post("/invitation/").content.decode()


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"username": "olga"}, "username"),
        ({"username": "Olga"}, "username"),
        ({"username": "two words"}, "username"),
        ({"username": "<script>alert(1)</script>"}, "username"),
        ({"username": "\0"}, "username"),
        ({"username": "x" * 10_000}, "username"),
        ({"username": ""}, "username"),
        ({"password1": "short", "password2": "short"}, "password1"),
        ({"username": "nina-and-nora", "password1": "nina-and-nora", "password2": "nina-and-nora"}, "password1"),
        ({"password1": "\0" * 12, "password2": "\0" * 12}, "password1"),
        ({"password2": "another pass phrase"}, "password2"),
        ({"password1": ""}, "password1"),
    ],
)
def test_what_can_t_be_is_said_on_the_form(
    client: Client, invited: IssuedInvitation, given: dict[str, str], field: str
):
    client.get(invited.path)
    answer = client.post("/invitation/", {**NEW, **given})
    assert answer.status_code == 200
    assert field in answer.context["form"].errors
    assert "<script>alert" not in answer.content.decode()
    assert PASSWORD not in answer.content.decode()
    assert User.objects.count() == 1
    assert Invitation.objects.open().exists()


@pytest.mark.parametrize("how", ["revoked", "expired", "accepted"])
def test_what_is_over_says_so(client: Client, invited: IssuedInvitation, how: str):
    client.get(invited.path)
    over(invited, how)
    users = User.objects.count()
    for answer in (client.get("/invitation/"), client.post("/invitation/", NEW), client.get(invited.path, follow=True)):
        assert answer.status_code == 410
        assert "can't be used" in answer.content.decode()
    assert User.objects.count() == users


@pytest.mark.parametrize("token", ["x", "x" * 10_000, "%00", "..%2f", "<b>", "'--"])
def test_a_link_that_never_was_is_no_other(client: Client, invited: IssuedInvitation, token: str, caplog: Any):
    answer = client.get(f"/invitation/{token}/", follow=True)
    assert answer.status_code in (404, 410)
    assert Invitation.objects.open().exists()


def test_the_name_of_a_team_is_shown_as_text(client: Client, team: Team):
    team.name = "<b>Bold</b>"
    team.save()
    client.get(do_invite(team, acting_user=None).path)
    shown = client.get("/invitation/").content.decode()
    assert "&lt;b&gt;Bold" in shown and "<b>Bold" not in shown


# --- The admin


def invite_in_admin(browser: Client, to: Team, **given: Any) -> Any:
    return browser.post(page("invitation", "add"), {"team": to.pk, "role": "member", "email": "", "days": 7, **given})


def test_the_admin_shows_the_link_once(boss: Client, root: User, team: Team, client: Client):
    assert invite_in_admin(boss, team, email="nina@example.org", days=3).status_code == 302
    assert "_messages" not in boss.session, "which is a table"
    shown = boss.get(page("invitation", "changelist")).content.decode()
    (link,) = set(re.findall(r"http://testserver(/invitation/[\w-]+/)", shown))
    row = Invitation.objects.get()
    assert (row.invited_by, row.team, row.email) == (root, team, "nina@example.org")
    assert timedelta(days=2.9) < row.expires_at - timezone.now() < timedelta(days=3)
    for again in (page("invitation", "changelist"), page("invitation", "change", row.pk)):
        content = boss.get(again).content.decode()
        assert link not in content and row.digest not in content
    assert link.split("/")[2] not in database_dump()
    assert client.get(link, follow=True).status_code == 200


def test_the_public_address_is_what_links_begin_with(boss: Client, team: Team, settings: Any):
    settings.PUBLIC_URL = "https://atelier.example.org"
    invite_in_admin(boss, team)
    assert "https://atelier.example.org/invitation/" in boss.get(page("invitation", "changelist")).content.decode()


@pytest.mark.parametrize(
    ("given", "field"),
    [({"days": 0}, "days"), ({"days": 366}, "days"), ({"days": "9" * 400}, "days"), ({"days": ""}, "days"),
     ({"role": "x"}, "role"), ({"email": "x"}, "email"), ({"team": 0}, "team")],
)  # fmt: skip
def test_the_admin_s_form_says_what_can_t_be(boss: Client, team: Team, given: dict[str, Any], field: str):
    assert field in invite_in_admin(boss, team, **given).context["adminform"].form.errors
    assert not Invitation.objects.exists()


def test_revoking_in_the_admin(boss: Client, root: User, invited: IssuedInvitation):
    chosen = {"action": "revoke", "_selected_action": [invited.row.pk]}
    boss.post(page("invitation", "changelist"), chosen)
    boss.post(page("invitation", "changelist"), chosen)
    assert AuditEvent.objects.get(action="invitation.revoked").actor == root
    assert not Invitation.objects.open().exists()


def test_who_may_see_invitations_may_not_make_or_revoke_them(invited: IssuedInvitation, team: Team):
    viewer = signed_in(staff("view_invitation"))
    assert viewer.get(page("invitation", "changelist")).status_code == 200
    assert invite_in_admin(viewer, team).status_code == 403
    viewer.post(page("invitation", "changelist"), {"action": "revoke", "_selected_action": [invited.row.pk]})
    assert Invitation.objects.open().count() == 1


# --- The command


def test_invite_prints_a_link_that_works(client: Client, team: Team, settings: Any):
    settings.PORT = 8123
    output = run("invite", "--team", "Vision", "--role", "viewer", "--email", "nina@example.org", "--days", "2")
    assert "team Vision as viewer" in output
    link = re.search(r"Link \(shown only now\): http://localhost:8123(/invitation/\S+)\n", output)
    assert link is not None
    client.get(link[1])
    client.post("/invitation/", NEW)
    assert Membership.objects.get(user__username="nina").role == "viewer"
    assert run("invite", "--team", "Vision", "--quiet").startswith("http://localhost:8123/invitation/")


def test_invite_names_the_argument(team: Team):
    assert "--team" in refused("invite")
    assert "--team" in refused("invite", "--team", "nowhere")
    assert "--role" in refused("invite", "--team", "Vision", "--role", "emperor")
    assert refused("invite", "--team", "Vision", "--email", "nowhere").startswith("--email: ")
    for days in ("0", "-1", "366", "99999999999"):
        assert "--days" in refused("invite", "--team", "Vision", "--days", days)
    assert not Invitation.objects.exists()


Beside = Callable[[Callable[[], Any]], Any]


@pytest.mark.django_db(transaction=True)
async def test_of_two_who_accept_at_once_one_joins(beside: Beside):
    import asyncio

    from accounts.services import do_create_team

    def invite() -> Invitation:
        return do_invite(do_create_team("Vision", acting_user=None), acting_user=None).row

    def accept(name: str) -> Callable[[], bool]:
        def try_it() -> bool:
            try:
                do_accept_as_new_user(row, username=name, password=PASSWORD)
            except ValidationError:
                return False
            return True

        return try_it

    row = await beside(invite)
    assert sorted(await asyncio.gather(beside(accept("nina")), beside(accept("nora")))) == [False, True]
    assert await beside(lambda: User.objects.count()) == 1
