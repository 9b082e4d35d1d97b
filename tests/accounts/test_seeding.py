"""Quotas count what the ledger has kept as daily sums only."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from accounts.authentication import Principal
from accounts.models import Quota, UsageRecord, User
from accounts.quotas.rules import rule_of
from accounts.quotas.seeding import settled
from accounts.quotas.verbs import do_set_quota
from accounts.quotas.what_if import what_if
from accounts.rollups import forget_old_records, midnight, roll_up
from accounts.services import do_create_user, do_issue_key
from tests.accounts.ledger_made import ended, running
from tests.support.server import ROOT

DAY = timedelta(days=1)
KILO = 1000


@pytest.fixture
def old(principal: Principal, settings: Any) -> list[Principal]:
    """Two users, whose older rows are gone: rows of the first are 3 old, 2 young, one running and one refused."""
    settings.USAGE_RETENTION_DAYS = 40
    other = do_create_user("otto", password=None, acting_user=None)
    key = do_issue_key(other, acting_user=None).row
    stranger = Principal(key.pk, key.prefix, other.pk, "otto", None, None)
    first = midnight(timezone.now().date()) - 40 * DAY
    for at in (first - 300 * DAY, first - DAY, first - timedelta(microseconds=1), first, timezone.now()):
        ended(principal, at)
        ended(stranger, at, model="large")
    nothing = {"prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 0, "engine_seconds": 0}
    ended(principal, first - DAY, outcome="refused", **nothing)
    running(principal, first - DAY)
    roll_up()
    ended(principal, timezone.now(), prompt_tokens=1, cached_tokens=0, completion_tokens=0, engine_seconds=0)
    assert forget_old_records() == 7 and UsageRecord.objects.count() == 6
    return [principal, stranger]


def used_in_all(metric: str, **named: Any) -> int:
    rule = rule_of(do_set_quota(metric=metric, window="total", limit=5, acting_user=None, **named))
    return settled(rule, rule.period(timezone.now()))


def test_total_counts_what_is_gone(old: list[Principal], owner: User):
    key = owner.keys.get()
    for named, requests, tokens, seconds in (
        ({"user": owner}, 6, 66, 1.25),
        ({"key": key}, 6, 66, 1.25),
        ({"team": key.team}, 6, 66, 1.25),
        ({"model": "large"}, 5, 65, 1.25),
        ({"user": owner, "model": "tiny"}, 6, 66, 1.25),
        ({"user": owner, "model": "large"}, 0, 0, 0),
        ({}, 11, 131, 2.5),
    ):
        assert used_in_all("requests", **named) == requests * KILO, named
        assert used_in_all("tokens", **named) == tokens * KILO, named
        assert used_in_all("gpu_seconds", **named) == seconds * KILO, named


def test_weights_hold_for_what_is_gone(old: list[Principal], owner: User):
    weights = {"input_weight": Decimal(2), "cached_weight": Decimal("0.5"), "output_weight": Decimal(10)}
    fresh, cached, output = 5 * 6 + 1, 5 * 4, 5 * 3
    assert used_in_all("tokens", user=owner, **weights) == (2 * fresh + cached // 2 + 10 * output) * KILO


def test_what_if_says_from_when_there_are_rows(old: list[Principal], owner: User):
    rule = rule_of(do_set_quota(metric="requests", window="total", limit=1, user=owner, acting_user=None))
    now = timezone.now() + timedelta(seconds=1)
    said = what_if(rule, start=now - 300 * DAY, end=now)
    assert (said.is_whole, said.requests, said.start) == (False, 3, midnight(timezone.now().date()) - 40 * DAY)
    assert what_if(rule, start=now - 30 * DAY, end=now).is_whole


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles", "Europe/Berlin", "Asia/Kolkata"])
@pytest.mark.parametrize("window", ["day", "week", "month"])
def test_windows_that_begin_within_a_day(principal: Principal, owner: User, settings: Any, zone: str, window: str):
    """Of the day that a window begins in, what came before is not in it, although the day's sums have both. Clocks
    change on 2026-10-25 in Berlin, on 2026-11-01 in Los Angeles."""
    settings.TIME_ZONE = zone
    do_set_quota(metric="requests", window=window, limit=5, user=owner, acting_user=None)
    rule = rule_of(Quota.objects.select_related("user").get())
    now = datetime(2026, 10, 31, 22, tzinfo=UTC)
    period = rule.period(now)
    assert period.start is not None and period.end is not None
    assert period.start.astimezone(ZoneInfo(zone)).hour == 0
    moments = (period.start, period.start + timedelta(seconds=1), now, period.end - timedelta(microseconds=1))
    for at in (*moments, period.start - timedelta(microseconds=1), period.end, period.start - DAY):
        ended(principal, at)
        running(principal, at)
    assert settled(rule, period) == 4 * KILO
    roll_up()
    assert settled(rule, period) == 4 * KILO
    ended(principal, period.start)
    assert settled(rule, period) == 5 * KILO


def test_less_than_a_month_is_no_retention():
    """A month's quota needs the rows of the day that it begins in."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "check"],
        env={**os.environ, "ATELIER_USAGE_RETENTION_DAYS": "34"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode and "ATELIER_USAGE_RETENTION_DAYS must be 0" in done.stderr
