"""Quotas as they are stored, and who changes them."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts.models import AuditEvent, Quota, QuotaBoost, Team, User
from accounts.quotas.verbs import do_boost_quota, do_change_quota, do_delete_quota, do_set_quota
from accounts.services import IssuedKey, do_delete_user, do_issue_key


def put(**fields: Any) -> Quota:
    return do_set_quota(**{"metric": "tokens", "window": "day", "limit": 1000, "acting_user": None, **fields})


def test_setting_it_again_changes_it(owner: User, last_audit: Callable[[], AuditEvent]):
    first = put(user=owner)
    assert (last_audit().action, last_audit().before) == ("quota.set", None)
    assert last_audit().after["limit"] == 1000
    second = put(user=owner, limit=50)
    assert second.pk == first.pk and Quota.objects.get().limit == 50
    assert (last_audit().action, last_audit().before["limit"], last_audit().after["limit"]) == (
        "quota.changed",
        1000,
        50,
    )
    put(user=owner, window="week")
    put(user=owner, model="atelier-tiny")
    assert Quota.objects.count() == 3


def test_it_says_what_it_is(owner: User, team: Team, issued: IssuedKey):
    names = [
        (put(user=owner), "1,000 tokens a day for user olga"),
        (put(team=team, model="tiny", window="hour"), "1,000 tokens an hour for team Vision, model tiny"),
        (put(key=issued.row, metric="requests", window="total"), f"1,000 requests in total for key {issued.row}"),
        (put(metric="concurrency", window="", limit=4), "4 requests at once for everyone"),
        (put(metric="gpu_seconds", window="month"), "1,000 GPU-seconds a month for everyone"),
    ]
    assert [str(quota) for quota, _ in names] == [name for _, name in names]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"limit": -1}, "limit"),
        ({"limit": 10**12 + 1}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"metric": "bytes"}, "metric"),
        ({"window": "fortnight"}, "window"),
        ({"window": ""}, "window"),
        ({"metric": "concurrency"}, "window"),
        ({"warn_percent": 0}, "warn_percent"),
        ({"warn_percent": 101}, "warn_percent"),
        ({"input_weight": Decimal(-1)}, "input_weight"),
        ({"output_weight": Decimal(1001)}, "output_weight"),
        ({"cached_weight": "x"}, "cached_weight"),
        ({"model": "m" * 201}, "model"),
    ],
)
def test_what_can_not_be(owner: User, fields: dict[str, Any], field: str):
    with pytest.raises(ValidationError) as refused:
        put(**{"user": owner, **fields})
    assert field in refused.value.message_dict
    assert not Quota.objects.exists() and not AuditEvent.objects.filter(action="quota.set").exists()


def test_nothing_is_a_limit(owner: User):
    assert put(user=owner, limit=0).limit == 0


def test_combinations_that_never_hold(owner: User, stranger: User, team: Team, issued: IssuedKey):
    bare = do_issue_key(owner, acting_user=None).row
    for fields, field in (
        ({"user": stranger, "key": issued.row}, "key"),
        ({"team": team, "key": bare}, "key"),
        ({"team": team, "user": stranger}, "user"),
    ):
        with pytest.raises(ValidationError) as refused:
            put(**fields)
        assert "never hold" in refused.value.message_dict[field][0]
    put(team=team, user=owner, key=issued.row)


def test_two_can_not_be_made_one(owner: User):
    put(user=owner)
    week = put(user=owner, window="week")
    with pytest.raises(ValidationError, match="already"):
        do_change_quota(week, window="day", acting_user=None)
    assert Quota.objects.filter(window="week").exists()


def test_deleting(owner: User, root: User, last_audit: Callable[[], AuditEvent]):
    made = put(user=owner)
    do_delete_quota(made, acting_user=root)
    assert (last_audit().action, last_audit().before["limit"], last_audit().actor) == ("quota.deleted", 1000, root)
    put(user=owner)
    do_delete_user(owner, acting_user=None)
    assert not Quota.objects.exists()


def test_boosts(owner: User, last_audit: Callable[[], AuditEvent]):
    made, now = put(user=owner), timezone.now()
    boost = do_boost_quota(made, amount=500, ends_at=now + timedelta(hours=1), note="the demo", acting_user=None)
    assert boost.starts_at >= now and str(boost).startswith("+500 until ")
    assert (last_audit().action, last_audit().after["note"]) == ("quota.boosted", "the demo")
    for wrong in ({"amount": 0}, {"amount": -5}, {"ends_at": now}, {"starts_at": now + timedelta(days=2)}):
        with pytest.raises(ValidationError):
            do_boost_quota(made, **{"amount": 1, "ends_at": now + timedelta(days=1), "acting_user": None, **wrong})
    assert QuotaBoost.objects.count() == 1


@pytest.mark.parametrize("name", ["Mars/Olympus", "../etc/passwd", "europe/berlin "])
def test_a_team_lives_in_a_time_zone(team: Team, name: str):
    team.time_zone = "Asia/Kathmandu"
    team.full_clean()
    team.time_zone = name
    with pytest.raises(ValidationError) as refused:
        team.full_clean()
    assert "time_zone" in refused.value.message_dict
