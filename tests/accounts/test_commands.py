import io
import re
from typing import Any

import pytest
from django.db import connection

from accounts import keys
from accounts.models import ApiKey, AuditEvent, Team, User
from accounts.services import IssuedKey, do_add_member, do_create_team, do_issue_key, do_revoke_key
from tests.accounts.commands import Terminal, refused, run

# --- createuser


def test_createuser_prints_a_password_that_works(db: None):
    output = run("createuser", "anna")
    password = re.search(r"Password \(shown only now\): (\S+)\n", output)
    assert password is not None
    user = User.objects.get()
    assert user.check_password(password[1])
    assert (user.username, user.is_superuser) == ("anna", False)
    actions = AuditEvent.objects.order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["user.created", "team.created", "member.added"]


def test_createuser_can_make_an_admin(db: None):
    run("createuser", "anna", "--admin", "--email", "anna@example.org")
    user = User.objects.get()
    assert (user.is_superuser, user.is_staff, user.email) == (True, True, "anna@example.org")


def test_createuser_makes_the_team_when_it_is_missing(db: None):
    run("createuser", "anna", "--team", "Vision")
    run("createuser", "bert", "--team", "Vision")
    team = Team.objects.get()
    assert list(team.users.order_by("username").values_list("username", flat=True)) == ["anna", "bert"]


def test_createuser_gives_a_team_of_one_s_own(db: None):
    assert run("createuser", "anna").startswith("Created user anna in team anna.\n")
    anna = User.objects.get()
    team = Team.objects.get()
    assert (team.person, team.name, team.memberships.get().role) == (anna, "anna", "owner")


def test_createuser_names_the_argument(owner: User):
    assert refused("createuser", "olga").startswith("NAME: ")
    assert refused("createuser", "two words").startswith("NAME: ")
    assert refused("createuser", "anna", "--email", "nowhere").startswith("--email: ")
    assert refused("createuser", "anna", "--team", "!!!").startswith("--team: ")
    # Whole or not at all: a refused team leaves no user behind.
    assert list(User.objects.all()) == [owner]


# --- createkey


def test_createkey_prints_the_key_once(team: Team, owner: User):
    output = run("createkey", "--user", "olga", "--note", "laptop", "--expires", "7", "--team", "Vision")
    (raw,) = re.findall(r"sk-atelier-\w{46}", output)
    row = ApiKey.objects.get()
    assert (row.digest, row.note, row.team, row.user) == (keys.digest(raw), "laptop", team, owner)
    assert row.expires_at is not None
    assert 6 <= (row.expires_at - row.created_at).days <= 7
    assert row.is_live()


def test_createkey_quiet_prints_nothing_else(owner: User):
    output = run("createkey", "--user", "olga", "--quiet")
    assert keys.is_well_formed(output.removesuffix("\n"))


def test_createkey_on_a_narrow_terminal_keeps_the_key_whole(owner: User, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "20")
    assert re.search(r"sk-atelier-\w{46}", run("createkey", "--user", "olga", out=Terminal()))


def test_createkey_names_the_argument(team: Team, stranger: User):
    assert "--user" in refused("createkey", "--user", "nobody")
    assert "--user" in refused("createkey")
    assert "--expires" in refused("createkey", "--user", "sten", "--expires", "0")
    assert "--expires" in refused("createkey", "--user", "sten", "--expires", "99999999")
    assert "--expires" in refused("createkey", "--user", "sten", "--expires", "soon")
    assert "--team" in refused("createkey", "--user", "sten", "--team", "nowhere")
    assert "--team: sten is not in team Vision" in refused("createkey", "--user", "sten", "--team", "Vision")
    assert "--note" in refused("createkey", "--user", "sten", "--note", "x" * 201)
    User.objects.filter(username="sten").update(is_active=False)
    assert "--user: sten is inactive" in refused("createkey", "--user", "sten")
    assert not ApiKey.objects.exists()


def test_createkey_takes_the_only_team(issued: IssuedKey, owner: User, team: Team):
    run("createkey", "--user", "olga")
    assert ApiKey.objects.latest("pk").team == team


def test_createkey_prefers_the_user_s_own_team(team: Team):
    run("createuser", "anna")
    anna = User.objects.get(username="anna")
    do_add_member(team, anna, acting_user=None)
    run("createkey", "--user", "anna")
    assert ApiKey.objects.get().team == anna.own_team


def test_createkey_asks_which_of_several_teams(team: Team, owner: User):
    do_add_member(do_create_team("Speech", acting_user=None), owner, acting_user=None)
    message = refused("createkey", "--user", "olga")
    assert message == "--team: olga is in several teams (Speech, Vision); say which."
    assert not ApiKey.objects.exists()


def test_createkey_gives_a_team_to_who_is_in_none(stranger: User):
    assert "--note" in refused("createkey", "--user", "sten", "--note", "x" * 201)
    assert not Team.objects.exists(), "whole or not at all"
    run("createkey", "--user", "sten")
    assert ApiKey.objects.get().team == Team.objects.get(person=stranger)


# --- revokekey


def test_revokekey_by_prefix(issued: IssuedKey):
    output = run("revokekey", issued.row.prefix)
    assert output == f"Revoked {issued.row.prefix}… of olga.\n"
    assert not ApiKey.objects.live().exists()
    assert AuditEvent.objects.filter(action="key.revoked", actor=None).count() == 1


def test_revokekey_by_the_whole_key_does_not_echo_it(issued: IssuedKey):
    output = run("revokekey", issued.raw)
    assert issued.raw[16:] not in output
    assert not ApiKey.objects.live().exists()


def test_revokekey_says_which_keys_share_a_prefix(issued: IssuedKey, stranger: User):
    other = do_issue_key(stranger, note="desk", acting_user=None)
    ApiKey.objects.filter(pk=other.row.pk).update(prefix=issued.row.prefix)
    message = refused("revokekey", issued.row.prefix)
    assert "2 keys" in message
    assert "olga, laptop" in message
    assert "sten, desk" in message
    assert ApiKey.objects.live().count() == 2
    run("revokekey", other.raw)
    assert ApiKey.objects.live().get() == issued.row
    # Only one is left, so the prefix is enough.
    run("revokekey", issued.row.prefix)
    assert not ApiKey.objects.live().exists()


def test_revokekey_says_what_is_wrong(issued: IssuedKey):
    assert "no key begins with sk-atelier-" in refused("revokekey", "sk-atelier-")
    typo = issued.raw[:-1] + ("a" if issued.raw[-1] != "a" else "b")
    message = refused("revokekey", typo)
    assert "typo" in message
    assert typo[16:] not in message
    unknown = refused("revokekey", keys.generate())
    assert "no key begins" in unknown
    do_revoke_key(issued.row, acting_user=None)
    assert "revoked already" in refused("revokekey", issued.row.prefix)
    assert "revoked already" in refused("revokekey", issued.raw)


def test_revokekey_reaches_a_resting_user_s_key(issued: IssuedKey):
    User.objects.update(is_active=False)
    run("revokekey", issued.row.prefix)
    assert ApiKey.objects.get().is_revoked()


# --- listkeys


def test_listkeys_is_made_for_pipes(issued: IssuedKey, stranger: User):
    other = do_issue_key(stranger, note="a\tb\x1b[2J\n", acting_user=None)
    do_revoke_key(other.row, acting_user=None)
    lines = [line.split("\t") for line in run("listkeys").splitlines()]
    assert lines[0] == ["key", "user", "team", "state", "note", "created", "expires", "last used"]
    assert lines[1][:5] == [other.row.prefix, "sten", "-", "revoked", "a\N{REPLACEMENT CHARACTER}b"
                            "\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}"]  # fmt: skip
    assert lines[2][:5] == [issued.row.prefix, "olga", "Vision", "live", "laptop"]
    assert {len(line) for line in lines} == {8}


def test_listkeys_of_one_user(issued: IssuedKey, stranger: User):
    do_issue_key(stranger, acting_user=None)
    lines = run("listkeys", "--user", "olga").splitlines()
    assert len(lines) == 2
    assert issued.row.prefix in lines[1]
    assert "--user" in refused("listkeys", "--user", "nobody")


def test_listkeys_on_a_narrow_terminal_keeps_prefixes_whole(issued: IssuedKey, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "60")
    output = run("listkeys", out=Terminal())
    assert issued.row.prefix in output
    assert "\t" not in output


def test_listkeys_never_shows_a_secret(issued: IssuedKey):
    for out in (io.StringIO(), Terminal()):
        output = run("listkeys", out=out)
        assert issued.raw not in output
        assert issued.row.digest not in output


def test_without_tables_a_command_says_what_to_do(transactional_db: None, settings: Any):
    with connection.schema_editor() as editor:
        editor.alter_db_table(ApiKey, "accounts_apikey", "accounts_apikey_away")
    try:
        assert "atelier migrate" in refused("listkeys")
    finally:
        with connection.schema_editor() as editor:
            editor.alter_db_table(ApiKey, "accounts_apikey_away", "accounts_apikey")
