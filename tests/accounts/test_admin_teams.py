from django.test import Client

from accounts.models import ApiKey, AuditEvent, Membership, Team, User
from accounts.services import IssuedKey, do_add_member
from tests.accounts.admin_pages import page, team_form


def test_adding_a_team_with_members(boss: Client, root: User, owner: User):
    answer = boss.post(page("team", "add"), team_form({"user": owner.pk, "role": "owner"}, name="Sound Lab"))
    assert answer.status_code == 302
    team = Team.objects.get()
    assert (team.name, team.slug) == ("Sound Lab", "sound-lab")
    assert team.memberships.get().role == "owner"
    assert set(AuditEvent.objects.filter(actor=root).values_list("action", flat=True)) == {
        "team.created",
        "member.added",
    }


def test_changing_a_team_and_its_members(boss: Client, team: Team, owner: User, stranger: User, issued: IssuedKey):
    do_add_member(team, stranger, acting_user=None)
    first, second = Membership.objects.order_by("pk")
    data = team_form(
        {"id": first.pk, "user": owner.pk, "role": "owner", "DELETE": "on"},
        {"id": second.pk, "user": stranger.pk, "role": "admin"},
        initial=2,
        name="Sight",
    )
    assert boss.post(page("team", "change", team.pk), data).status_code == 302
    team.refresh_from_db()
    assert team.name == "Sight"
    assert [(m.user, m.role) for m in team.memberships.all()] == [(stranger, "admin")]
    # Whoever leaves a team can't spend on it any more.
    assert not ApiKey.objects.live().exists()
    newest = AuditEvent.objects.order_by("-pk")[:4]
    assert {event.action for event in newest} == {
        "team.changed",
        "member.removed",
        "key.revoked",
        "member.role_changed",
    }


def test_a_membership_keeps_its_user(boss: Client, team: Team, owner: User, stranger: User):
    data = team_form(
        {"id": Membership.objects.get().pk, "user": stranger.pk, "role": "owner"}, initial=1, name=team.name
    )
    boss.post(page("team", "change", team.pk), data)
    assert team.memberships.get().user == owner
    # Nor does the page look as if it could change.
    (members,) = boss.get(page("team", "change", team.pk)).context["inline_admin_formsets"]
    assert members.formset.forms[0].fields["user"].disabled


def test_a_team_too_much_like_another_is_refused_on_the_form(boss: Client, team: Team):
    answer = boss.post(page("team", "add"), team_form(name="vision!"))
    assert "too much like" in str(answer.context["adminform"].form.errors)


def test_a_team_in_use_cannot_be_deleted(boss: Client, team: Team, issued: IssuedKey):
    assert boss.post(page("team", "delete", team.pk), {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [team.pk], "post": "yes"}
    boss.post(page("team", "changelist"), chosen)
    assert Team.objects.exists()


def test_an_unused_team_can_be_deleted(boss: Client, root: User, team: Team):
    assert boss.post(page("team", "delete", team.pk), {"post": "yes"}).status_code == 302
    assert not Team.objects.exists()
    assert AuditEvent.objects.get(action="team.deleted").actor == root
