"""Lists of a ledger and an audit log that have grown: every page, filter, search and sum is answered by an index."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Q
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.authentication import Principal
from accounts.keyset import Place
from accounts.models import ApiKey, AuditEvent, UsageRecord
from accounts.quotas.periods import Period
from accounts.quotas.rules import Rule
from accounts.quotas.seeding import settled
from accounts.rollups import roll_up
from accounts.usage import DAY, used, used_by_time
from tests.accounts.admin_pages import page
from tests.accounts.ledger_made import ended
from tests.support.large_ledger import analyze, fill, fill_audit, people

NOW = datetime(2026, 11, 20, 15, tzinfo=UTC)
ROWS = 6_000
DAYS = 100


@pytest.fixture
def keys(db: None) -> list[ApiKey]:
    """With a ledger and a log of thousands of rows, all but the last of them rolled up."""
    made = people()
    fill(made, ROWS, days=DAYS, until=NOW.timestamp())
    fill_audit(ROWS, days=DAYS, until=NOW.timestamp())
    roll_up()
    UsageRecord.objects.filter(started_at__gte=NOW - timedelta(hours=20)).update(is_rolled_up=False)
    analyze()
    return made


def plans(work: Callable[[], Any]) -> list[str]:
    """How the database answers each query of `work` on the tables that grow."""
    with CaptureQueriesContext(connection) as captured:
        work()
    asked = [query["sql"] for query in captured if re.search(r"FROM \W*accounts_(usage|audit)", query["sql"])]
    assert asked and not any(re.search(r"\bOFFSET\b|COUNT\(\*\)", sql) for sql in asked), asked
    prefix = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
    found = []
    for sql in asked:
        with connection.cursor() as cursor:
            cursor.execute(prefix + sql)
            found.append("\n".join(str(row[-1]) for row in cursor.fetchall()))
    return found


def read_whole(plan: str) -> list[str]:
    """The lines of a plan that read a growing table from end to end, without an index or to sort it all."""
    whole = re.compile(
        r"SCAN accounts_(usagerecord|auditevent)(?! USING)|Seq Scan on accounts_(usagerecord|auditevent)"
    )
    return [line for line in plan.splitlines() if whole.search(line)]


PAGES = {
    "usagerecord": {
        "": "usage_started",
        "p={deep}": "usage_started",
        "p={deep_newer}": "usage_started",
        "p=2026-09-15": "usage_started",
        "user__id__exact={user}": "usage_user_started",
        "user__id__exact={user}&p={deep}": "usage_user_started",
        # A fifth, a third of all rows: to walk through the newest of all is as good.
        "team__id__exact={team}": "usage_team_started|usage_started",
        "model=model1": "usage_model_started|usage_started",
        "model=nothing-that-there-is": "usage_model_started",
        "outcome=timeout": "usage_outcome_started",
        "outcome=timeout&p={deep}": "usage_outcome_started",
        "outcome=running": "usage_outcome_started",
        "started_at__gte=2026-09-01+00:00:00Z&started_at__lt=2026-09-02+00:00:00Z": "usage_started",
        "q=req_777": "request_id",
    },
    "auditevent": {
        "": "audit_created",
        "p={deep}": "audit_created",
        "action=thing.changed3": "audit_action_created",
        "action=nothing": "audit_action_created",
        "actor=actor7": "audit_actor_created",
        "actor=actor7&p={deep}": "audit_actor_created",
        "q=thing+777": "target_label",
    },
}


def test_pages_by_index(boss: Client, keys: list[ApiKey]):
    middle = Place(NOW - timedelta(days=DAYS / 2), 1)
    names = {
        "deep": f"older-{middle}", "deep_newer": f"newer-{middle}",
        "user": keys[3].user_id, "team": keys[3].team_id,
    }  # fmt: skip
    for model, queries in PAGES.items():
        for query, index in queries.items():
            url = f"{page(model, 'changelist')}?{query.format(**names)}"
            answers: list[Any] = []
            found = plans(lambda url=url, answers=answers: answers.append(boss.get(url)))  # type: ignore[misc]
            assert answers[0].status_code == 200, url
            assert any(re.search(index, plan) for plan in found), (url, found)
            assert [line for plan in found for line in read_whole(plan)] == [], url


def test_sums_by_index(keys: list[ApiKey]):
    """Whole days come from their sums, and only the edges and what is new from the ledger's rows."""
    key, start = keys[3], NOW - timedelta(days=40)
    rule = Rule("q1", "tokens", "total", 5, "tokens in total", "x", UTC, user_id=key.user_id)
    works: list[tuple[str, Callable[[], Any]]] = [
        ("daily_", lambda: used(start=start, end=NOW, by=["user"])),
        ("daily_", lambda: used_by_time(start=start, end=NOW, width=DAY, by=["team"])),
        ("daily_", lambda: used_by_time(start=start, end=NOW, width=DAY, where=Q(user_id=key.user_id))),
        ("daily_", lambda: settled(rule, Period(None, None))),
        ("usage_user_started", lambda: settled(rule, Period(NOW - timedelta(minutes=1), NOW))),
    ]
    for index, work in works:
        found = plans(work)
        assert len(found) == 1, "one statement, so that nothing moves between its parts"
        assert index in found[0], found[0]
        assert read_whole(found[0]) == []
    [in_all] = plans(lambda: settled(rule, Period(None, None)))
    assert "usage_not_rolled_up" in in_all and "usage_user_started" not in in_all, "not all that the user ever used"
    [whole] = plans(lambda: used(start=None, end=None))
    assert "usage_not_rolled_up" in whole and read_whole(whole) == []


@pytest.mark.parametrize("model", ["usagerecord", "auditevent"])
def test_back_and_forth(boss: Client, principal: Principal, model: str):
    """Every row once, in order, and back again; also where rows are of the same moment."""
    AuditEvent.objects.all().delete()
    rows: Any = UsageRecord if model == "usagerecord" else AuditEvent
    moment = "started_at" if model == "usagerecord" else "created_at"
    for number in range(130):
        if model == "usagerecord":
            ended(principal, NOW)
        else:
            AuditEvent.objects.create(action="x", target_type="x", target_id=str(number))
    rows.objects.update(**{moment: NOW})
    rows.objects.filter(pk__lt=rows.objects.order_by("pk")[60].pk).update(**{moment: NOW - timedelta(seconds=1)})
    seen, url, urls = [], page(model, "changelist"), []
    while url:
        urls.append(url)
        changelist = boss.get(url).context["cl"]
        seen += [row.pk for row in changelist.result_list]
        url = changelist.older_url and page(model, "changelist") + changelist.older_url
    assert seen == list(rows.objects.order_by(f"-{moment}", "-pk").values_list("pk", flat=True))
    assert len(seen) == 130 and len(urls) == 3
    back, url = [], urls[-1]
    while url:
        changelist = boss.get(url).context["cl"]
        back.append([row.pk for row in changelist.result_list])
        url = changelist.newer_url and page(model, "changelist") + changelist.newer_url
    assert back == [seen[100:], seen[50:100], seen[:50]]
    assert "newest" in boss.get(urls[-1]).content.decode().lower()


@pytest.mark.parametrize(
    "place",
    ["x", "older-", "older-1", "older-1-x", "older--1-1", "older-9" * 30, "newer-999999999999999999-1", "2", "-1",
     "older-%C2%B2-1", "2026-02-30", "0001-01-01", "9999-12-31", "%00", "older-1-1%00"],
)  # fmt: skip
def test_places_that_there_are_not(boss: Client, record: UsageRecord, place: str):
    for model in ("usagerecord", "auditevent"):
        answer = boss.get(f"{page(model, 'changelist')}?p={place}")
        assert answer.status_code == 200 and answer.context["cl"].result_list


@pytest.mark.parametrize(
    "query",
    ["model=%00", "outcome=%00", "user__id__exact=%00", "q=%00", "request_id__exact=%00", "outcome=<script>x",
     "started_at__gte=x", "user__id__exact=-1", "o=5", "all=1"],
)  # fmt: skip
def test_filters_that_make_no_sense(boss: Client, record: UsageRecord, query: str):
    answer = boss.get(f"{page('usagerecord', 'changelist')}?{query}", follow=True)
    assert answer.status_code == 200 and "<script>x" not in answer.content.decode()


def test_a_day_gone_to(boss: Client, principal: Principal, settings: Any):
    """It ends at midnight where the platform is, which has put its clocks back that day."""
    settings.TIME_ZONE = "Europe/Berlin"
    for hour in (21, 22, 23, 24):
        ended(principal, datetime(2026, 10, 25, tzinfo=UTC) + timedelta(hours=hour), outcome="timeout")
    shown = boss.get(f"{page('usagerecord', 'changelist')}?p=2026-10-25&outcome=timeout").context["cl"]
    assert [row.started_at.hour for row in shown.result_list] == [22, 21]
    assert shown.hidden() == [("outcome", "timeout")]
    nothing = boss.get(f"{page('usagerecord', 'changelist')}?p=1971-01-01").context["cl"]
    assert nothing.result_list == [] and not nothing.older_url and nothing.newest_url == "?"
    assert boss.get(page("usagerecord", "changelist") + nothing.newer_url).context["cl"].result_list
