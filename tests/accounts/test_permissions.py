"""The table of who may do what: in the documentation, and where it is asked."""

from pathlib import Path

import pytest
from django.core.exceptions import ValidationError

from accounts.models import ApiKey, Membership, Team, User
from accounts.permissions import MATRIX, Action, Role, allows, managing, may, teams_where
from accounts.services import do_add_member, do_change_role, do_change_user, do_create_user, do_issue_key
from tests.support.server import ROOT

PAGE = ROOT / "docs" / "permissions.md"


def table() -> list[str]:
    """As docs/permissions.md has it."""
    lines = [
        "| action | | platform admin | owner | admin | member | viewer |",
        "|---|---|---|---|---|---|---|",
    ]
    for action in Action:
        marks = ["✓", *("✓" if role in MATRIX[action] else "" for role in Role)]
        lines.append(f"| `{action.value}` | {action.label} | {' | '.join(marks)} |".replace("|  |", "| |"))
    return lines


def test_the_documentation_shows_the_table():
    text = Path(PAGE).read_text()
    shown = [line for line in text.splitlines() if line.startswith(("| action", "| `"))]
    wanted = [line for line in table() if not line.startswith("|---")]
    assert [squeezed(line) for line in shown] == [squeezed(line) for line in wanted], "\n".join(table())


def squeezed(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")]


def test_every_action_is_in_the_table():
    assert set(MATRIX) == set(Action)
    assert [role.value for role in Role] == ["owner", "admin", "member", "viewer"]


@pytest.fixture
def people(team: Team) -> dict[str, User]:
    """One of each role, by it."""
    made = {}
    for role in Role:
        made[role.value] = do_create_user(f"the-{role}", password=None, acting_user=None)
        do_add_member(team, made[role.value], role=role, acting_user=None)
    return made


@pytest.mark.parametrize("action", Action)
def test_each_role_may_what_the_table_says(
    action: Action, team: Team, people: dict[str, User], root: User, stranger: User
):
    assert may(root, action, team) and may(root, action)
    assert not may(stranger, action, team)
    for role, user in people.items():
        assert may(user, action, team) is (role in MATRIX[action])
        assert teams_where(user, action).filter(pk=team.pk).exists() is (role in MATRIX[action])
    assert not teams_where(stranger, action).exists() and teams_where(root, action).get() == team


def test_the_inactive_may_nothing(team: Team, owner: User, root: User):
    # The last admin can't be made inactive.
    do_create_user("second", password=None, is_admin=True, acting_user=None)
    for user in (owner, root):
        do_change_user(user, is_active=False, acting_user=None)
        user.refresh_from_db()
        assert not may(user, Action.SEE_TEAM, team) and not teams_where(user, Action.SEE_TEAM).exists()


def test_where_no_team_is_concerned_everybody_has_what_is_their_own(stranger: User):
    assert may(stranger, Action.OWN_KEYS) and not may(stranger, Action.TEAM_KEYS) and not may(stranger, Action.PLATFORM)


def test_owners_and_admins_are_managed_by_owners():
    by = {role: {manager for manager in Role if allows(manager, managing(role))} for role in Role}
    assert by[Role.OWNER] == by[Role.ADMIN] == {Role.OWNER}
    assert by[Role.MEMBER] == by[Role.VIEWER] == {Role.OWNER, Role.ADMIN}


def test_a_viewer_gets_no_key_for_the_team(team: Team, people: dict[str, User]):
    viewer = people["viewer"]
    with pytest.raises(ValidationError) as refused:
        do_issue_key(viewer, team=team, acting_user=None)
    assert refused.value.message_dict == {
        "team": ["the-viewer is a viewer in team Vision, and those have no keys for it."]
    }
    assert do_issue_key(viewer, acting_user=None).row.team is None


@pytest.mark.parametrize("role", Role)
def test_who_becomes_a_viewer_loses_the_keys_for_the_team(team: Team, people: dict[str, User], role: Role):
    member = people["member"]
    kept, other = do_issue_key(member, acting_user=None).row, do_issue_key(people["owner"], team=team, acting_user=None)
    lost = do_issue_key(member, team=team, acting_user=None).row
    do_change_role(Membership.objects.get(user=member), role, acting_user=None)
    live = {kept, other.row} if role == Role.VIEWER else {kept, other.row, lost}
    assert set(ApiKey.objects.live()) == live
