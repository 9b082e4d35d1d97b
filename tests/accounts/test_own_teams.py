import pytest
from django.core.exceptions import ValidationError

from accounts.models import Team, User
from accounts.offboarding import do_offboard_user
from accounts.own_teams import do_create_own_team, team_for_key
from accounts.services import do_add_member, do_change_user, do_create_team, do_create_user, do_delete_user


def own_team_of(name: str) -> Team:
    return do_create_own_team(do_create_user(name, password=None, acting_user=None), acting_user=None)


def test_it_is_called_after_its_user(db: None):
    team = own_team_of("anna")
    assert (team.name, team.slug, str(team.person)) == ("anna", "anna", "anna")
    assert [membership.facts() for membership in team.memberships.all()] == [
        {"user": "anna", "team": "anna", "role": "owner"}
    ]


def test_a_name_that_is_taken_gets_a_number(db: None):
    do_create_team("Anna", acting_user=None)
    team = own_team_of("anna")
    assert team.name == f"anna {team.person_id}"
    do_create_team(f"bert {team.person_id + 1}", acting_user=None)
    do_create_team("Bert", acting_user=None)
    assert own_team_of("bert").name == f"user {team.person_id + 1} 1"


@pytest.mark.parametrize("name", ["___", "x" * 150, "a@b.c", "@.+-_", "Ünal"])
def test_every_user_s_name_makes_a_team(db: None, name: str):
    assert own_team_of(name).slug


def test_names_that_are_long_and_alike(db: None):
    assert len({own_team_of("x" * 149 + end).name for end in "abc"}) == 3


def test_a_new_name_of_the_user_leaves_it(db: None):
    team = own_team_of("anna")
    assert team.person is not None
    do_change_user(team.person, username="hanna", acting_user=None)
    assert own_team_of("anna").name != "anna"


def test_it_outlives_its_user(db: None):
    team = own_team_of("anna")
    assert team.person is not None
    do_delete_user(team.person, acting_user=None)
    team.refresh_from_db()
    assert team.person is None


def test_who_comes_back_takes_it_up_again(root: User):
    team = own_team_of("anna")
    anna = User.objects.get(username="anna")
    do_offboard_user(anna, acting_user=root)
    assert team_for_key(anna) is None
    assert do_create_own_team(anna, acting_user=None) == team
    assert team_for_key(anna) == team


def test_what_a_key_is_for(owner: User, team: Team, stranger: User):
    assert team_for_key(stranger) is None
    assert team_for_key(owner) == team
    do_add_member(do_create_team("Speech", acting_user=None), owner, acting_user=None)
    with pytest.raises(ValidationError) as refused:
        team_for_key(owner)
    assert refused.value.message_dict == {"team": ["olga is in several teams (Speech, Vision); say which."]}
    own = do_create_own_team(owner, acting_user=None)
    assert team_for_key(owner) == own
