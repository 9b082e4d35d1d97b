"""The page with charts: the right sums, whatever is asked of it."""

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import Client
from django.utils import timezone

from accounts.authentication import Principal
from accounts.models import Price
from accounts.rollups import midnight, roll_up
from tests.accounts.admin_pages import page
from tests.accounts.ledger_made import ended

TODAY = midnight(timezone.now().date())
DAY = timedelta(days=1)
PAGE = "usagedaily"


@pytest.fixture
def some(principal: Principal) -> Principal:
    Price.objects.create(model="large", input=10, output=100, valid_from=TODAY - 90 * DAY)
    ended(principal, TODAY)
    ended(principal, TODAY - 3 * DAY, model="large", username="<script>x", team_id=None)
    ended(principal, TODAY - 50 * DAY, prompt_tokens=1000)
    roll_up()
    ended(principal, TODAY, completion_tokens=90)
    return principal


def shown(boss: Client, query: str = "") -> dict[str, Any]:
    answer = boss.get(f"{page(PAGE, 'changelist')}?{query}")
    assert answer.status_code == 200
    found: dict[str, Any] = {name: answer.context[name] for name in ("totals", "table", "first", "last", "form")}
    return {**found, "chart": json.loads(answer.context["chart"]), "html": answer.content.decode()}


def bars(chart: dict[str, Any]) -> dict[str, dict[str, float]]:
    """By group, its days that have something."""
    return {
        each["label"]: {day: value for day, value in zip(chart["labels"], each["data"], strict=True) if value}
        for each in chart["datasets"]
    }


def test_thirty_days_by_team(boss: Client, some: Principal):
    said = shown(boss)
    assert (said["first"], said["last"]) == ((TODAY - 29 * DAY).date(), TODAY.date())
    assert len(said["chart"]["labels"]) == 30
    assert bars(said["chart"]) == {
        "Vision": {f"{TODAY:%Y-%m-%d}": 113}, "none": {f"{TODAY - 3 * DAY:%Y-%m-%d}": 13},
    }  # fmt: skip
    assert dict(said["totals"]) == {"tokens": "126", "requests": "3", "GPU-hours": "0.00", "cost (USD)": "0.00"}
    assert [row[0] for row in said["table"]["rows"]] == ["Vision", "none"]


def test_filters_and_what_is_shown(boss: Client, some: Principal):
    assert bars(shown(boss, "by=model&show=requests&days=90")["chart"]) == {
        "tiny": {f"{TODAY:%Y-%m-%d}": 2, f"{TODAY - 50 * DAY:%Y-%m-%d}": 1},
        "large": {f"{TODAY - 3 * DAY:%Y-%m-%d}": 1},
    }  # fmt: skip
    assert list(bars(shown(boss, "by=model&show=cost")["chart"])) == ["large", "tiny"], "the largest first"
    assert list(bars(shown(boss, "by=key&show=gpu&team=vision")["chart"])) == [some.key_prefix]
    assert dict(shown(boss, "model=large")["totals"])["tokens"] == "13"
    assert dict(shown(boss, "user=olga&days=365")["totals"])["tokens"] == "1,116"
    span = f"start={TODAY - 3 * DAY:%Y-%m-%d}&end={TODAY - 3 * DAY:%Y-%m-%d}"
    assert dict(shown(boss, span)["totals"])["requests"] == "1"


def test_names_are_only_names(boss: Client, some: Principal):
    said = shown(boss, "by=user")
    assert "<script>x" not in said["html"] and "&lt;script&gt;x" in said["html"]


def test_more_groups_than_colours(boss: Client, principal: Principal):
    for number in range(12):
        ended(principal, TODAY, model=f"model{number:02}", prompt_tokens=100 + number)
    found = bars(shown(boss, "by=model")["chart"])
    assert len(found) == 9 and next(iter(found)) == "model11"
    assert found["others"] == {f"{TODAY:%Y-%m-%d}": sum(103 + number for number in range(4))}


@pytest.mark.parametrize(
    "query",
    ["days=8", "by=colour", "show=%00", "user=nobody", "team=%00", "model='; drop table", "start=x", "start=2026-02-30",
     "start=2026-02-02&end=2026-02-01", "start=1970-01-01", "end=9999-12-31", "end=0001-01-01&start=0001-01-01",
     "end=1970-01-01", "format=pdf", "by=user&by=model"],
)  # fmt: skip
def test_what_makes_no_sense_is_said_or_empty(boss: Client, some: Principal, query: str):
    said = shown(boss, query)
    assert (said["last"] - said["first"]).days < 1100


def test_errors_stand_at_their_fields(boss: Client, some: Principal):
    for query, name in (("start=2026-02-02&end=2026-02-01", "start"), ("start=1990-01-01", "start"), ("by=x", "by"),
                        ("end=0900-01-01", "end")):  # fmt: skip
        assert name in shown(boss, query)["form"].errors, query


def test_nothing_at_all(boss: Client, db: None):
    assert "Nothing was used" in shown(boss, "start=2020-01-01&end=2020-01-31")["html"]


def test_csv(boss: Client, some: Principal):
    answer: Any = boss.get(f"{page(PAGE, 'changelist')}?by=user&format=csv")

    async def read() -> bytes:
        return b"".join([piece async for piece in answer])

    head, *rows = csv.reader(io.StringIO(async_to_sync(read)().decode(), newline=""))
    assert head[:3] == ["day", "user", "requests"]
    assert [row[:3] for row in rows] == [
        [f"{TODAY - 3 * DAY:%Y-%m-%d}", "<script>x", "1"], [f"{TODAY:%Y-%m-%d}", "olga", "2"],
    ]  # fmt: skip
