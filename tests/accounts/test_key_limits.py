"""What a key may be used for; and one that takes another's place."""

from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError
from django.utils import timezone

from accounts import keys
from accounts.authentication import Principal, load_principal
from accounts.models import ApiKey, AuditEvent, Quota, Scope, Team, User
from accounts.quotas.verbs import do_set_quota
from accounts.services import IssuedKey, do_issue_key, do_revoke_key, do_rotate_key
from tests.accounts.test_commands import refused, run


def principal_of(raw: str) -> Principal:
    found = load_principal(keys.digest(raw))
    assert found is not None
    return found


def test_a_key_may_do_everything_but_manage_unless_it_says_otherwise(issued: IssuedKey):
    principal = principal_of(issued.raw)
    assert principal.scopes == set(Scope.values) - {Scope.MANAGE}
    assert principal.may_use("anything") and principal.may_come_from(None)


def test_a_key_with_limits(owner: User, last_audit: Callable[[], AuditEvent]):
    issued = do_issue_key(
        owner, scopes=["embed", "models", "embed"], allowed_models=["qwen"], acting_user=None,
        allowed_networks=["10.1.2.3/8", "fd00::/8", "192.168.1.7"],
    )  # fmt: skip
    principal = principal_of(issued.raw)
    assert principal.scopes == {"embed", "models"}
    assert principal.may_use("qwen") and not principal.may_use("llama")
    for address, may in (("10.9.9.9", True), ("fd00::1", True), ("192.168.1.7", True), ("192.168.1.8", False)):
        assert principal.may_come_from(ip_address(address)) is may
    assert not principal.may_come_from(None)
    assert last_audit().after["allowed_networks"] == ["10.0.0.0/8", "fd00::/8", "192.168.1.7/32"]
    assert last_audit().after["scopes"] == ["embed", "models"]


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes"),
        ({"allowed_models": [""]}, "allowed_models"),
        ({"allowed_models": ["m" * 201]}, "allowed_models"),
        ({"allowed_models": ["a\0b"]}, "allowed_models"),
        ({"allowed_models": ["a\ud800"]}, "allowed_models"),
        ({"allowed_models": [str(number) for number in range(65)]}, "allowed_models"),
        ({"allowed_networks": ["10.0.0.0/33"]}, "allowed_networks"),
        ({"allowed_networks": ["localhost"]}, "allowed_networks"),
    ],
)
def test_limits_that_can_not_be(owner: User, limits: dict[str, Any], field: str):
    with pytest.raises(ValidationError) as refusal:
        do_issue_key(owner, acting_user=None, **limits)
    assert field in refusal.value.message_dict and not ApiKey.objects.exists()


def test_rotating(owner: User, team: Team, last_audit: Callable[[], AuditEvent]):
    limits: Any = {"scopes": ["generate"], "allowed_models": ["qwen"], "allowed_networks": ["10.0.0.0/8"]}
    first = do_issue_key(owner, note="laptop", team=team, acting_user=None, **limits)
    do_set_quota(metric="tokens", window="day", limit=100, key=first.row, acting_user=None)
    second = do_rotate_key(first.row, overlap=timedelta(hours=2), acting_user=owner)
    old, new = (principal_of(each.raw) for each in (first, second))
    assert (new.user_id, new.team_id, new.scopes, new.models, new.networks) == (
        old.user_id, old.team_id, old.scopes, old.models, old.networks,
    )  # fmt: skip
    assert second.row.note == "laptop" and new.expires_at is None
    assert old.expires_at is not None and timedelta(0) < old.expires_at - timezone.now() <= timedelta(hours=2)
    assert sorted(Quota.objects.values_list("key", "limit")) == [(first.row.pk, 100), (second.row.pk, 100)]
    assert (last_audit().action, last_audit().after["by"]) == ("key.rotated", second.row.prefix)


def test_a_key_that_expires_sooner_is_not_prolonged(owner: User):
    soon = timezone.now() + timedelta(minutes=5)
    first = do_issue_key(owner, expires_at=soon, acting_user=None)
    second = do_rotate_key(first.row, overlap=timedelta(hours=2), acting_user=None)
    first.row.refresh_from_db()
    assert first.row.expires_at == second.row.expires_at == soon


def test_without_overlap_the_old_one_ends_at_once(issued: IssuedKey):
    do_rotate_key(issued.row, overlap=timedelta(0), acting_user=None)
    assert load_principal(keys.digest(issued.raw)) is None


def test_a_key_that_does_not_work_is_not_rotated(issued: IssuedKey):
    do_revoke_key(issued.row, acting_user=None)
    with pytest.raises(ValidationError, match="does not work any more"):
        do_rotate_key(issued.row, overlap=timedelta(0), acting_user=None)
    assert ApiKey.objects.count() == 1


# --- the commands ----------------------------------------------------------------------------------------------------


def test_createkey_with_limits(owner: User):
    run("createkey", "--user", "olga", "--scope", "generate", "--scope", "models", "--model", "qwen",
        "--network", "10.0.0.0/8")  # fmt: skip
    row = ApiKey.objects.get()
    assert (row.scopes, row.allowed_models, row.allowed_networks) == (["generate", "models"], ["qwen"], ["10.0.0.0/8"])
    assert refused("createkey", "--user", "olga", "--network", "home").startswith("--network: ")
    assert "--scope" in refused("createkey", "--user", "olga", "--scope", "all")


def test_rotatekey(owner: User, issued: IssuedKey):
    raw = run("rotatekey", issued.row.prefix, "--overlap", "1", "--quiet").strip()
    assert principal_of(raw).user_id == owner.pk and principal_of(issued.raw).expires_at is not None
    assert "works until" in run("rotatekey", raw)
    assert refused("rotatekey", raw, "--overlap", "-1").startswith("--overlap: ")
    assert refused("rotatekey", raw, "--overlap", "nan").startswith("--overlap: ")
    assert refused("rotatekey", "sk-atelier-none").startswith("PREFIX: ")


def test_revokekey_of_a_whole_user(owner: User, issued: IssuedKey, stranger: User):
    do_issue_key(owner, acting_user=None)
    other = do_issue_key(stranger, acting_user=None)
    assert run("revokekey", "--all-of", "olga") == "Revoked 2 keys of olga.\n"
    assert list(ApiKey.objects.live()) == [other.row]
    assert refused("revokekey", "--all-of", "nobody").startswith("--all-of: ")
    with pytest.raises(CommandError):
        run("revokekey")


def test_setquota(owner: User, team: Team, issued: IssuedKey):
    tokens = ("--metric", "tokens", "--window", "day")
    assert run("setquota", "--user", "olga", *tokens, "--limit", "1000") == "Set 1,000 tokens a day for user olga.\n"
    assert run("setquota", "--team", "Vision", "--model", "qwen", *tokens, "--limit", "5", "--soft").endswith(
        "as a warning.\n"
    )
    run("setquota", "--key", issued.row.prefix, "--metric", "concurrency", "--limit", "2")
    assert Quota.objects.count() == 3
    assert "+500 until" in run("setquota", "--user", "olga", *tokens, "--boost", "500", "--for", "2")
    assert run("setquota", "--user", "olga", *tokens, "--remove") == "Removed 1,000 tokens a day for user olga.\n"
    assert Quota.objects.count() == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--user", "nobody", "--limit", "1"), "--user: "),
        (("--team", "nobody", "--limit", "1"), "--team: "),
        (("--key", "sk-atelier-none", "--limit", "1"), "--key: "),
        (("--limit", "-1"), "--limit: "),
        (("--limit", "1", "--output-weight", "-1"), "--output-weight: "),
        (("--limit", "1", "--output-weight", "heavy"), "--output-weight: "),
        (("--limit", "1", "--warn-percent", "0"), "--warn-percent: "),
        (("--remove",), "There is no quota of tokens a day for everyone"),
        (("--boost", "5", "--for", "1"), "There is no quota"),
        ((), "--limit"),
    ],
)
def test_setquota_names_the_argument(owner: User, arguments: tuple[str, ...], says: str):
    assert says in refused("setquota", "--metric", "tokens", "--window", "day", *arguments)
    assert not Quota.objects.exists()


def test_setquota_boosts_for_some_time(owner: User):
    run("setquota", "--metric", "tokens", "--window", "day", "--limit", "5")
    for wrong in ((), ("--for", "0"), ("--for", "-2"), ("--for", "nan"), ("--for", "9999999")):
        assert "--for HOURS" in refused("setquota", "--metric", "tokens", "--window", "day", "--boost", "5", *wrong)
