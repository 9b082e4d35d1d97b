"""Teams for one: so that every key has a team, whose quotas and cache it uses."""

from collections.abc import Iterator
from itertools import count

from django.core.exceptions import ValidationError
from django.db import transaction

from accounts import audit
from accounts.models import Membership, Team, User
from accounts.services import do_add_member


@transaction.atomic
def do_create_own_team(user: User, *, acting_user: User | None) -> Team:
    """A team named after the user, who owns it. One that the user once had is taken up again."""
    team = Team.objects.filter(person=user).first()
    if team is None:
        team = next(free for free in _candidates(user) if _is_free(free))
        team.save()
        after = {"name": team.name, "person": user.username}
        audit.record("team.created", team, acting_user=acting_user, after=after)
    do_add_member(team, user, role=Membership.Role.OWNER, acting_user=acting_user)
    return team


def team_for_key(user: User) -> Team | None:
    """The team that a key of the user counts for where none is named: its own one, else the only one that it is in.
    None: it is in none. Raises ValidationError for who is in several, none of them its own."""
    teams = list(user.teams.all())
    own = [team for team in teams if team.person_id == user.pk] or teams
    if len(own) > 1:
        names = ", ".join(team.name for team in teams)
        raise ValidationError({"team": f"{user.username} is in several teams ({names}); say which."})
    return own[0] if own else None


def _candidates(user: User) -> Iterator[Team]:
    stem = user.username[:80]
    names = [stem, f"{stem} {user.pk}"]
    yield from (Team(name=name, person=user) for name in names)
    # Somebody has gone to some length.
    yield from (Team(name=f"user {user.pk} {number}", person=user) for number in count(1))


def _is_free(team: Team) -> bool:
    """Whether no other team is called so, and enough of the name is left in its slug."""
    try:
        team.full_clean()
    except ValidationError as error:
        if set(error.message_dict) <= {"name", "slug"}:
            return False
        raise
    return True
