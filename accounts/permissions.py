"""Who may do what: one table, and the functions to ask it. docs/permissions.md shows the table."""

from django.db import models

from accounts.models.people import Membership, Team, User

Role = Membership.Role


class Action(models.TextChoices):
    SEE_TEAM = "team.see", "see the team: its name, its time zone, who is in it"
    CHANGE_TEAM = "team.change", "change the team's name and time zone"
    MANAGE_MEMBERS = "members.manage", "change the role of members and viewers, and remove them"
    MANAGE_ADMINS = "admins.manage", "the same with owners and admins; make somebody one"
    INVITE = "invitations.manage", "invite people, for roles that one may manage; see and withdraw invitations"
    SERVICE_ACCOUNTS = (
        "service_accounts.manage",
        "make and remove service accounts; issue, rotate and revoke their keys",
    )
    OWN_KEYS = "keys.own", "have keys for the team: issue, see, rotate and revoke one's own"
    TEAM_KEYS = "keys.team", "see and revoke everybody's keys for the team"
    OWN_USAGE = "usage.own", "see one's own usage"
    TEAM_USAGE = "usage.team", "see the whole team's usage"
    SEE_LIMITS = "limits.see", "see the quotas that hold for oneself, and how much of them is used"
    AUDIT = "audit.see", "see who changed what in the team"
    SET_QUOTAS = "quotas.set", "set, boost, remove and try out quotas"
    MODELS = "models.manage", "add, inspect, name, download and remove models"
    PLATFORM = "platform.manage", "create teams and users, set their weights and classes; all of the above everywhere"


EVERYONE = frozenset(Role)
RUNNING = frozenset({Role.OWNER, Role.ADMIN})

MATRIX: dict[Action, frozenset[Role]] = {
    Action.SEE_TEAM: EVERYONE,
    Action.CHANGE_TEAM: frozenset({Role.OWNER}),
    Action.MANAGE_MEMBERS: RUNNING,
    Action.MANAGE_ADMINS: frozenset({Role.OWNER}),
    Action.INVITE: RUNNING,
    Action.SERVICE_ACCOUNTS: RUNNING,
    Action.OWN_KEYS: EVERYONE - {Role.VIEWER},
    Action.TEAM_KEYS: RUNNING,
    Action.OWN_USAGE: EVERYONE,
    Action.TEAM_USAGE: EVERYONE - {Role.MEMBER},
    Action.SEE_LIMITS: EVERYONE,
    Action.AUDIT: frozenset({Role.OWNER}),
    Action.SET_QUOTAS: frozenset(),
    Action.MODELS: frozenset(),
    Action.PLATFORM: frozenset(),
}
"""By what is done, the roles in a team that may do it there. Platform admins may do everything."""

WITHOUT_TEAM = frozenset({Action.OWN_KEYS, Action.OWN_USAGE, Action.SEE_LIMITS})
"""What everybody may do where no team is concerned."""


def allows(role: str | None, action: Action) -> bool:
    """Whether this role in a team lets do that there. None: no role."""
    return role in MATRIX[action]


def may(user: User, action: Action, team: Team | None = None) -> bool:
    """Whether the user may do that in this team. None: where no team is concerned. At most one query."""
    if not user.is_active:
        return False
    if user.is_superuser:
        return True
    return action in WITHOUT_TEAM if team is None else allows(user.role_in(team), action)


def teams_where(user: User, action: Action) -> models.QuerySet[Team]:
    """The teams in which the user may do that."""
    if not user.is_active:
        return Team.objects.none()
    if user.is_superuser:
        return Team.objects.all()
    # A subquery, not a join: whoever goes on filtering by memberships means others' ones.
    roles = Membership.objects.filter(user=user, role__in=MATRIX[action])
    return Team.objects.filter(pk__in=roles.values("team"))


def managing(role: str) -> Action:
    """What one needs to be allowed to have to do with memberships of that role."""
    return Action.MANAGE_ADMINS if role in RUNNING else Action.MANAGE_MEMBERS
