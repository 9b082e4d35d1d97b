"""Who may use which class of the queue, and what share they have of it."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from accounts.models import ApiKey, AuditEvent, Team, User
from accounts.models.priority import lower_of
from accounts.services import do_change_team, do_change_user, do_issue_key, do_rotate_key
from tests.accounts.admin_pages import page, team_form
from tests.accounts.test_commands import refused, run
from tests.accounts.test_key_limits import principal_of

BATCH, API, INTERACTIVE = "batch", "api", "interactive"


def test_the_lower_of_two():
    assert lower_of(BATCH, API) == lower_of(API, BATCH) == lower_of(BATCH, INTERACTIVE) == BATCH
    assert lower_of(INTERACTIVE, API) == API


def test_a_key_is_api_unless_it_says_otherwise(owner: User, team: Team):
    principal = principal_of(do_issue_key(owner, team=team, acting_user=None).raw)
    assert (principal.priority, principal.highest_class, principal.weight) == (API, API, 1.0)


def test_a_key_has_at_most_its_teams_class(owner: User, team: Team):
    with pytest.raises(ValidationError, match=f"{API} is the first class that team {team}'s keys may use"):
        do_issue_key(owner, team=team, priority=INTERACTIVE, acting_user=None)
    with pytest.raises(ValidationError, match="a key without a team"):
        do_issue_key(owner, priority=INTERACTIVE, acting_user=None)
    do_change_team(team, highest_class=INTERACTIVE, acting_user=None)
    team.refresh_from_db()
    issued = do_issue_key(owner, team=team, priority=INTERACTIVE, acting_user=None)
    assert principal_of(issued.raw).priority == INTERACTIVE


def test_a_team_that_is_lowered_lowers_its_keys(owner: User, team: Team):
    do_change_team(team, highest_class=INTERACTIVE, acting_user=None)
    team.refresh_from_db()
    issued = do_issue_key(owner, team=team, priority=INTERACTIVE, acting_user=None)
    do_change_team(team, highest_class=BATCH, acting_user=None)
    assert principal_of(issued.raw).priority == principal_of(issued.raw).highest_class == BATCH
    # Nor does its successor have what it has lost.
    follower = do_rotate_key(issued.row, overlap=timedelta(0), acting_user=None)
    assert follower.row.priority == BATCH


def test_weights_are_multiplied(owner: User, team: Team):
    issued = do_issue_key(owner, team=team, acting_user=None)
    do_change_user(owner, weight=3.0, acting_user=None)
    do_change_team(team, weight=0.5, acting_user=None)
    assert principal_of(issued.raw).weight == 1.5
    alone = do_issue_key(owner, acting_user=None)
    assert principal_of(alone.raw).weight == 3.0


@pytest.mark.parametrize("weight", [0, -1, 0.001, 101, float("nan"), float("inf")])
def test_absurd_weights(owner: User, team: Team, weight: float):
    for change in (lambda: do_change_user(owner, weight=weight, acting_user=None),
                   lambda: do_change_team(team, weight=weight, acting_user=None)):  # fmt: skip
        with pytest.raises(ValidationError, match=r"from 0\.01 to 100"):
            change()


def test_by_command(owner: User, team: Team, last_audit: Callable[[], AuditEvent]):
    assert "weight 2.0, highest class interactive" in run(
        "setpriority", "--team", team.name, "--weight", "2", "--highest-class", INTERACTIVE
    )
    assert last_audit().after == {"weight": 2.0, "highest_class": INTERACTIVE}
    assert "weight 0.5" in run("setpriority", "--user", owner.username, "--weight", "0.5")
    run("createkey", "--user", owner.username, "--team", team.name, "--class", INTERACTIVE)
    assert ApiKey.objects.get().priority == INTERACTIVE
    owner.refresh_from_db()
    assert owner.weight == 0.5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--team", "{team}"], "Say what to change"),
        (["--user", "{user}", "--highest-class", "batch"], "give the team"),
        (["--user", "{user}", "--weight", "nan"], "--weight: Give a number from 0.01 to 100."),
        (["--team", "nobody", "--weight", "1"], "there is no team 'nobody'"),
    ],
)
def test_bad_commands(owner: User, team: Team, arguments: list[str], says: str):
    words = [word.format(team=team.name, user=owner.username) for word in arguments]
    assert says in refused("setpriority", *words)


def test_a_class_that_the_team_has_not_is_refused_by_command(owner: User, team: Team):
    said = refused("createkey", "--user", owner.username, "--team", team.name, "--class", INTERACTIVE)
    assert said.startswith("--class: api is the first class")


def test_in_the_admin(boss: Client, team: Team, owner: User):
    data = team_form(
        {"id": team.memberships.get().pk, "user": owner.pk, "role": "owner"},
        initial=1, name=team.name, highest_class=INTERACTIVE, weight="4",
    )  # fmt: skip
    assert boss.post(page("team", "change", team.pk), data).status_code == 302
    team.refresh_from_db()
    assert (team.highest_class, team.weight) == (INTERACTIVE, 4.0)
