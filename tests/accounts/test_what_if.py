"""What a quota would have refused, counted by hand beside the ledger."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts import ledger
from accounts.authentication import Principal
from accounts.models import AuditEvent, Quota, Team, UsageRecord, User
from accounts.quotas import what_if as module
from accounts.quotas.rules import rule_of
from accounts.quotas.verbs import draft
from accounts.quotas.what_if import WhatIf, what_if
from accounts.services import IssuedKey, do_change_team, do_issue_key
from tests.accounts.test_commands import refused, run

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def used(
    key: IssuedKey, at: datetime, *, prompt: int = 10, answer: int = 90, lasts: float = 1.0, outcome: str = "stop",
    model: str = "tiny", cached: int = 0,
) -> None:  # fmt: skip
    """One row of the ledger, as the gateway would leave it."""
    row = key.row
    id = f"r{UsageRecord.objects.count()}"
    principal = Principal(row.pk, row.prefix, row.user_id, row.user.username, row.team_id, None)
    ledger.open_record(
        request_id=id, principal=principal, model=model, endpoint="chat.completions", stream=False, gateway="g",
        estimated_prompt_tokens=prompt, started_at=at,
    )  # fmt: skip
    ledger.settle(
        id, outcome=outcome, prompt_tokens=prompt, cached_tokens=cached, completion_tokens=answer, queue_ms=0,
        ttft_ms=None, duration_ms=1, engine_seconds=lasts,
    )  # fmt: skip
    UsageRecord.objects.filter(request_id=id).update(ended_at=at + timedelta(seconds=lasts))


def tried(*, start: datetime = NOON - 24 * HOUR, end: datetime = NOON + 24 * HOUR, **fields: Any) -> WhatIf:
    quota = draft(**{"metric": "tokens", "window": "day", "limit": 1000, **fields})
    return what_if(rule_of(quota), start=start, end=end)


def overs(found: WhatIf) -> tuple[int, float, int, int]:
    return found.over.requests, found.over.amount, found.exceeded, found.windows


@pytest.fixture
def other(stranger: User) -> IssuedKey:
    return do_issue_key(stranger, acting_user=None)


def test_nothing_is_refused_that_fits(issued: IssuedKey):
    used(issued, NOON)
    found = tried(limit=100)
    assert overs(found) == (0, 0, 0, 1) and found.users == [] and found.worst == []
    assert (found.requests, found.is_whole) == (1, True)
    assert not Quota.objects.exists() and not AuditEvent.objects.filter(action__startswith="quota").exists()


def test_what_goes_beyond_is_cut_and_what_follows_refused(issued: IssuedKey, other: IssuedKey):
    used(issued, NOON)  # 100
    used(other, NOON + HOUR)  # 100, of which 50 fit
    used(other, NOON + 2 * HOUR)  # none fits
    found = tried(limit=150)
    assert overs(found) == (1, 150, 1, 1)
    [window] = found.worst
    assert (window.start, window.end) == (NOON - 12 * HOUR, NOON + 12 * HOUR)
    assert (window.used, window.over) == (300, found.over)
    assert found.users == [("sten", found.over)]


def test_a_limit_of_nothing_refuses_all(issued: IssuedKey):
    for hours in range(3):
        used(issued, NOON + hours * HOUR)
    assert overs(tried(limit=0)) == (3, 300, 1, 1)
    assert overs(tried(limit=0, metric="requests", window="hour")) == (3, 3, 3, 3)
    assert overs(tried(limit=0, metric="gpu_seconds")) == (3, 3, 1, 1)
    assert overs(tried(limit=0, metric="concurrency", window="")) == (3, 3, 1, 1)


def test_windows_begin_anew_in_the_team_s_time_zone(issued: IssuedKey, team: Team):
    late = datetime(2026, 11, 10, 22, 30, tzinfo=UTC)
    used(issued, late)
    used(issued, late + HOUR)
    assert overs(tried(limit=100)) == (1, 100, 1, 1), "one day in UTC"
    do_change_team(team, time_zone="Europe/Berlin", acting_user=None)
    team.refresh_from_db()
    assert overs(tried(limit=100, team=team)) == (0, 0, 0, 2), "two in Berlin"


def test_what_was_used_of_a_window_before_counts(issued: IssuedKey):
    used(issued, NOON)
    used(issued, NOON + HOUR)
    found = tried(limit=100, start=NOON + timedelta(minutes=30))
    assert overs(found) == (1, 100, 1, 1) and found.requests == 1 and found.worst[0].used == 200
    assert overs(tried(limit=150, window="total", start=NOON + timedelta(minutes=30))) == (0, 50, 1, 1)
    assert found.worst[0].start is not None
    assert tried(limit=100, window="total").worst[0].start is None


def test_it_looks_at_those_whom_it_names(issued: IssuedKey, other: IssuedKey, team: Team, owner: User):
    used(issued, NOON)
    used(issued, NOON, model="large")
    used(other, NOON)
    assert tried().requests == 3
    assert tried(team=team).requests == tried(user=owner).requests == tried(key=issued.row).requests == 2
    assert tried(user=owner, model="large").requests == 1


def test_weights(issued: IssuedKey):
    used(issued, NOON, prompt=100, cached=60, answer=10)
    assert tried(limit=0, input_weight=1, cached_weight="0.5", output_weight=4).over.amount == 40 + 30 + 40


def test_gpu_seconds_let_the_request_that_crosses_the_line_end(issued: IssuedKey):
    for hours in range(3):
        used(issued, NOON + hours * HOUR, lasts=10)
    assert overs(tried(metric="gpu_seconds", limit=15)) == (1, 10, 1, 1)


def test_requests_at_once(issued: IssuedKey, other: IssuedKey):
    for seconds in (0, 1, 2, 100):
        used(issued if seconds else other, NOON + timedelta(seconds=seconds), lasts=10)
    found = tried(metric="concurrency", window="", limit=2)
    assert overs(found) == (1, 1, 1, 1) and found.worst[0].used == 3
    assert found.users == [("olga", found.over)]


def test_what_was_refused_or_still_runs_does_not_count(issued: IssuedKey):
    used(issued, NOON, outcome="refused", answer=0)
    used(issued, NOON)
    UsageRecord.objects.filter(request_id="r1").update(state="running", outcome="", ended_at=None)
    assert tried(limit=0).requests == 0


def test_a_large_ledger_is_looked_at_from_its_end(issued: IssuedKey, monkeypatch: pytest.MonkeyPatch):
    # A lower bound, so that five rows are over it: the real one is a hundred thousand.
    monkeypatch.setattr(module, "MOST_ROWS", 3)
    for hours in (-3, -2, -2, 0, 1):
        used(issued, NOON + hours * HOUR)
    found = tried(limit=0)
    assert (found.requests, found.is_whole) == (2, False), "of the two at one moment neither"
    assert found.start == NOON - 2 * HOUR + timedelta(microseconds=1)
    assert found.worst[0].used == 500, "though all of the day is summed up"


def test_only_the_worst_are_told(issued: IssuedKey, monkeypatch: pytest.MonkeyPatch):
    # A lower bound, so that four windows are over it.
    monkeypatch.setattr(module, "MOST_SHOWN", 2)
    for hours, answer in enumerate((90, 190, 290, 40)):
        used(issued, NOON + hours * HOUR, answer=answer)
    found = tried(limit=0, window="hour")
    assert found.exceeded == 4 and [window.used for window in found.worst] == [300, 200]


def test_on_the_command_line(issued: IssuedKey):
    used(issued, timezone.now() - HOUR)
    arguments = ("setquota", "--user", "olga", "--metric", "tokens", "--window", "total", "--limit", "60", "--what-if")
    lines = run(*arguments).splitlines()
    assert "of 1 requests 0 would have been refused, and 40 tokens not used, in 1 of 1 windows." in lines[0]
    assert lines[1:] == [
        "user\trefused\tnot used",
        "olga\t0\t40",
        "window\tused\trefused\tnot used",
        "ever\t100\t0\t40",
    ]
    assert not Quota.objects.exists()
    assert "in 0 of 0 windows" in run(*arguments, "--days", "0.01")
    for days in ("0", "-1", "nan", "inf", "367"):
        assert "--days" in refused(*arguments, "--days", days)
    boost = [word for word in arguments if word not in ("--limit", "60")]
    assert "--what-if needs --limit" in refused(*boost, "--boost", "5")
    assert "--window" in refused(*[word for word in arguments if word not in ("--window", "total")])
