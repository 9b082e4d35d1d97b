"""Daily sums: whatever was rolled up when, and whatever rows are gone, the ledger says the same."""

import threading
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from django.db import connections
from django.db.models import Q
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from accounts import ledger, rollups
from accounts.authentication import Principal
from accounts.models import Price, Rollups, Team, UsageDaily, UsageRecord, User
from accounts.rollups import forget_old_records, midnight, roll_up
from accounts.services import do_create_user, do_delete_team, do_delete_user, do_issue_key
from accounts.tasks import forget_old_records as forget_task
from accounts.tasks import interrupt_abandoned, roll_up_usage
from accounts.usage import GROUPS, RowsForgotten, Sums, total, used, used_by_time
from tests.accounts.ledger_made import ended, running
from tests.accounts.test_ledger import FIGURES

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def test_a_day_added_up(principal: Principal):
    ended(principal, NOON)
    ended(principal, NOON + timedelta(hours=11), outcome="engine_error", engine_seconds=0.1)
    ended(principal, NOON, outcome="refused", prompt_tokens=0, cached_tokens=0, completion_tokens=0, engine_seconds=0)
    ended(principal, NOON, outcome="disconnected")
    ended(principal, NOON, model="large")
    ended(principal, NOON + DAY)
    running(principal, NOON)
    assert roll_up() == 6
    assert [(row.day, row.model) for row in UsageDaily.objects.order_by("day", "-model")] == [
        (date(2026, 11, 10), "tiny"), (date(2026, 11, 10), "large"), (date(2026, 11, 11), "tiny"),
    ]  # fmt: skip
    row = UsageDaily.objects.get(day=date(2026, 11, 10), model="tiny")
    assert (row.username, row.key_prefix, row.user_id, row.key_id, row.team_id) == (
        principal.username, principal.key_prefix, principal.user_id, principal.key_id, principal.team_id,
    )  # fmt: skip
    assert (row.requests, row.refused, row.failed, row.cancelled) == (3, 1, 1, 1)
    assert (row.prompt_tokens, row.cached_tokens, row.completion_tokens, row.engine_micros) == (30, 12, 9, 600_000)


def test_twice_is_once(principal: Principal):
    ended(principal, NOON)
    assert (roll_up_usage(), roll_up_usage()) == (1, 0)
    assert UsageDaily.objects.get().requests == 1


def test_what_comes_late_is_added(principal: Principal, settings: Any):
    """A row of a day long rolled up: opened then and closed now; interrupted now; or by a clock that had jumped."""
    ended(principal, NOON)
    open_then, lost = running(principal, NOON), running(principal, NOON)
    roll_up()
    ledger.settle(open_then.request_id, **FIGURES)
    assert interrupt_abandoned() == 1 and lost.pk
    ended(principal, NOON - timedelta(hours=1), ended_at=NOON - 300 * DAY)
    assert roll_up() == 3
    row = UsageDaily.objects.get()
    assert (row.day, row.requests, row.failed, row.prompt_tokens) == (date(2026, 11, 10), 4, 1, 32)


def test_days_are_of_utc(principal: Principal, settings: Any):
    settings.TIME_ZONE = "Pacific/Auckland"
    for moment in ("2026-11-09T23:59:59.999999+00:00", "2026-11-10T00:00:00+00:00"):
        ended(principal, datetime.fromisoformat(moment))
    roll_up()
    assert set(UsageDaily.objects.values_list("day", flat=True)) == {date(2026, 11, 9), date(2026, 11, 10)}


def test_users_that_are_gone_keep_their_names(principal: Principal, owner: User):
    ended(principal, NOON)
    roll_up()
    running(principal, NOON, request_id="late")
    do_delete_user(owner, acting_user=None)
    ledger.settle("late", **FIGURES)
    roll_up()
    row = UsageDaily.objects.get()
    assert (row.user, row.key, row.username, row.key_prefix, row.requests) == (
        None, None, "olga", principal.key_prefix, 2,
    )  # fmt: skip
    namesake = do_create_user("olga", password=None, acting_user=None)
    key = do_issue_key(namesake, acting_user=None).row
    ended(Principal(key.pk, principal.key_prefix, namesake.pk, "olga", principal.team_id, None), NOON)
    roll_up()
    do_delete_user(namesake, acting_user=None)
    ended(Principal(None, principal.key_prefix, None, "olga", principal.team_id, None), NOON)  # type: ignore[arg-type]
    roll_up()
    [olga] = used(start=NOON - DAY, end=NOON + DAY, by=["user"])
    assert (olga.of, olga.requests) == ({"user": "olga"}, 4)


def test_a_team_whose_rows_are_gone_stays(principal: Principal, team: Team, owner: User):
    ended(principal, NOON)
    roll_up()
    UsageRecord.objects.all().delete()
    do_delete_user(owner, acting_user=None)
    with pytest.raises(Exception, match="keys or usage"):
        do_delete_team(team, acting_user=None)


@pytest.mark.django_db(transaction=True)
def test_several_at_once(principal: Principal, monkeypatch: pytest.MonkeyPatch):
    """Each row is added once, whoever does it, and rows that end meanwhile are added in the end."""
    # Small pieces without a rest between them, so that eighty rows are many, and the threads meet at most of them.
    monkeypatch.setattr(rollups, "CHUNK", 7)
    monkeypatch.setattr(rollups, "PAUSE_SECONDS", 0)
    for number in range(60):
        ended(principal, NOON + number * timedelta(hours=1))
    late = [running(principal, NOON + number * timedelta(hours=2)).request_id for number in range(20)]
    together = threading.Barrier(5)

    def work(number: int) -> int:
        try:
            together.wait(timeout=60)
            if number < 4:
                return roll_up()
            return sum(ledger.settle(id, **FIGURES) for id in late) * 0
        finally:
            connections.close_all()

    with ThreadPoolExecutor(5) as pool:
        added = sum(pool.map(work, range(5)))
    assert added + roll_up() == 80
    assert sum(UsageDaily.objects.values_list("requests", flat=True)) == 80
    assert not UsageRecord.objects.filter(is_rolled_up=False).exists()
    identities = list(UsageDaily.objects.values_list(*rollups.IDENTITY))
    assert len(identities) == len(set(identities)) == 3


# --- Retention


def test_rows_stay_for_ever_unless_asked_otherwise(principal: Principal):
    ended(principal, NOON - 4000 * DAY)
    roll_up()
    assert forget_task() == 0 and UsageRecord.objects.count() == 1


def test_old_rows_go_once_they_are_added_up(principal: Principal, settings: Any, monkeypatch: pytest.MonkeyPatch):
    settings.USAGE_RETENTION_DAYS = 40
    # Smaller pieces, so that five rows take several: with the real ones it would take thousands.
    monkeypatch.setattr(rollups, "CHUNK", 2)
    first = midnight(NOON.date()) - 40 * DAY
    for number in range(5):
        ended(principal, first - timedelta(microseconds=1) - number * DAY)
    kept = [ended(principal, first), ended(principal, NOON), running(principal, NOON - 300 * DAY)]
    assert forget_old_records(NOON) == 0, "not one that is in no sum"
    roll_up()
    late = ended(principal, NOON - 200 * DAY)
    assert forget_old_records(NOON) == 5
    assert set(UsageRecord.objects.all()) == {*kept, late}
    assert Rollups.first_day_kept() == first.date()
    assert total(start=None, end=None, where=Q()).requests == 8
    assert forget_old_records(NOON) == 0
    settings.USAGE_RETENTION_DAYS = 400
    forget_old_records(NOON)
    assert Rollups.first_day_kept() == first.date(), "what is gone does not come back"


def test_spans_that_reach_into_days_whose_rows_are_gone(principal: Principal, settings: Any):
    settings.USAGE_RETENTION_DAYS = 40
    old = midnight(timezone.now().date()) - 90 * DAY
    for hours in (1, 13, 25):
        ended(principal, old + timedelta(hours=hours))
    roll_up()
    forget_old_records()
    noon = old + timedelta(hours=12)
    whole = [
        used(start=start, end=end)[0].requests for start, end in ((old, None), (None, old + DAY), (old, old + DAY))
    ]
    assert whole == [3, 2, 2]
    # A day counts where it begins, so that neighbouring spans add up.
    assert [used(start=start, end=end)[0].requests for start, end in ((None, noon), (noon, None))] == [2, 1]
    assert [sums.requests for _, sums in used_by_time(start=noon, end=None, width=DAY)] == [1]
    with pytest.raises(RowsForgotten, match="only daily sums"):
        used_by_time(start=old, end=old + DAY, width=timedelta(hours=1))


# --- The same as the rows alone

MODELS = ("tiny", "large")
SPAN = 6 * 24 * 60
"""Minutes that the examples' rows are spread over."""


@pytest.fixture
def people(principal: Principal) -> list[Principal]:
    other = do_create_user("otto", password=None, acting_user=None)
    key = do_issue_key(other, acting_user=None).row
    return [principal, Principal(key.pk, key.prefix, other.pk, other.username, None, None)]


@pytest.fixture
def prices(db: None) -> None:
    Price.objects.create(
        model="tiny", input="0.3", cached="0.1", output="7", gpu_hour="1.1", valid_from=NOON - 99 * DAY
    )
    Price.objects.create(model="tiny", input="3", cached="1", output="70", valid_from=NOON + 2 * DAY)


made = st.builds(
    dict,
    who=st.integers(0, 1),
    minute=st.integers(0, SPAN),
    model=st.sampled_from(MODELS),
    outcome=st.sampled_from(["stop", "refused", "timeout", "cancelled", ""]),
    prompt=st.integers(0, 2**31 - 1),
    cached=st.integers(0, 50),
    completion=st.integers(0, 2**31 - 1),
    seconds=st.floats(0, 1e6),
)
moment = st.none() | st.integers(-60, SPAN + 60)
step = st.sampled_from(["roll up", "close", "nothing"]) | made


def write(people: list[Principal], row: dict[str, Any], *, base: datetime) -> None:
    at = base + timedelta(minutes=row["minute"], microseconds=row["prompt"] % 60_000_000)
    if not row["outcome"]:
        running(people[row["who"]], at, model=row["model"])
        return
    ended(
        people[row["who"]], at, model=row["model"], outcome=row["outcome"], prompt_tokens=row["prompt"],
        cached_tokens=min(row["cached"], row["prompt"]), completion_tokens=row["completion"],
        engine_seconds=row["seconds"],
    )  # fmt: skip


def from_rows_alone(start: datetime | None, end: datetime | None, by: list[str], where: Q, daily: bool) -> Any:
    """What usage must say, added up here row by row: by what it is grouped by, with its day in front if daily."""
    found: dict[Any, Counter[str]] = defaultdict(Counter)
    costs: dict[Any, list[Fraction]] = defaultdict(list)
    for row in UsageRecord.objects.filter(where).exclude(state="running").select_related("team"):
        if (start and row.started_at < start) or (end and row.started_at >= end):
            continue
        named = {"user": row.username, "team": row.team and row.team.slug, "key": row.key_prefix, "model": row.model,
                 "endpoint": row.endpoint}  # fmt: skip
        group = (midnight(row.started_at.date()) if daily else None, *(named[name] for name in by))
        found[group].update(
            requests=row.outcome != "refused", refused=row.outcome == "refused",
            failed=row.outcome in ("timeout", "interrupted"), cancelled=row.outcome == "cancelled",
            prompt_tokens=row.prompt_tokens, cached_tokens=row.cached_tokens, completion_tokens=row.completion_tokens,
            engine_micros=row.engine_micros(),
        )  # fmt: skip
        if row.model == "tiny":
            dear = row.started_at >= NOON + 2 * DAY
            input, cached, output, hour = (
                (3, 1, 70, 0) if dear else (Fraction("0.3"), Fraction("0.1"), 7, Fraction("1.1"))
            )
            fresh = row.prompt_tokens - row.cached_tokens
            tokens = fresh * input + row.cached_tokens * cached + row.completion_tokens * output
            costs[group].append(Fraction(tokens, 10**6) + Fraction(row.engine_micros(), 3600 * 10**6) * hour)
    return {group: (dict(sums), round(sum(costs[group]), 6) if costs[group] else None) for group, sums in found.items()}


def said(begins: datetime | None, sums: Sums, by: list[str]) -> Any:
    cost = None if sums.cost is None else Fraction(sums.cost)
    return (begins, *(sums.of[name] for name in by)), ({name: getattr(sums, name) for name in rollups.FIGURES}, cost)


@given(
    steps=st.lists(step, min_size=3, max_size=15),
    start=moment,
    end=moment,
    by=st.lists(st.sampled_from(sorted(GROUPS)), unique=True, max_size=3),
    only=st.sampled_from([Q(), Q(model="tiny"), Q(username="otto"), Q(team__slug="vision")]),
)
@hypothesis_settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_the_same_as_the_rows_alone(
    people: list[Principal], prices: None, steps: list[Any], start: int | None, end: int | None, by: list[str], only: Q
):
    UsageRecord.objects.all().delete()
    UsageDaily.objects.all().delete()
    base = midnight(NOON.date())
    for each in steps:
        if each == "roll up":
            roll_up()
        elif each == "close":
            for id in UsageRecord.objects.filter(state="running").values_list("request_id", flat=True)[:1]:
                ledger.interrupt(id, prompt_tokens=5)
        elif each != "nothing":
            write(people, each, base=base)
    since, until = (None if at is None else base + timedelta(minutes=at) for at in (start, end))
    found = used(start=since, end=until, by=by, where=only)
    alone = from_rows_alone(since, until, by, only, daily=False)
    if not by and not alone:
        assert [(sums.requests, sums.cost) for sums in found] == [(0, None)]
    else:
        assert dict(said(None, sums, by) for sums in found) == alone and len(found) == len(alone)
    if since is not None:
        by_day = used_by_time(start=since, end=until, width=DAY, by=by, where=only)
        alone = from_rows_alone(since, until, by, only, daily=True)
        assert dict(said(begins, sums, by) for begins, sums in by_day) == alone and len(by_day) == len(alone)
