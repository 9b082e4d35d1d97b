"""Usage as CSV: whole, however large, and harmless to spreadsheets."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts import exports
from accounts.authentication import Principal
from accounts.models import Price, UsageRecord
from accounts.rollups import roll_up
from accounts.usage import used
from tests.accounts.admin_pages import page, signed_in, staff
from tests.accounts.ledger_made import ended, running
from tests.accounts.test_commands import refused, run

THEN = datetime(2026, 11, 1, 12, tzinfo=UTC)


def rows_of(text: str) -> list[list[str]]:
    assert text.endswith("\r\n")
    return list(csv.reader(io.StringIO(text, newline="")))


def sent(answer: Any) -> str:
    """What a server sends of a stream, piece by piece."""

    async def read() -> bytes:
        return b"".join([piece async for piece in answer])

    return async_to_sync(read)().decode()


def records(**where: Any) -> str:
    return "".join(exports.of_records(UsageRecord.objects.filter(**where)))


def test_sums(principal: Principal):
    Price.objects.create(model="tiny", input=1, cached=1, output=1, valid_from=THEN)
    ended(principal, THEN)
    ended(principal, THEN, model="large", team_id=None)
    head, *rest = rows_of(exports.of_sums(["model", "team"], used(start=None, end=None, by=["model", "team"])))
    assert head[:3] == ["model", "team", "requests"] and head[-2:] == ["cost", "currency"]
    assert [(row[0], row[1], row[2], row[-2], row[-1]) for row in rest] == [
        ("large", "", "1", "", ""), ("tiny", "vision", "1", "0.000013", "USD"),
    ]  # fmt: skip


def test_records(principal: Principal):
    ended(principal, THEN + timedelta(hours=1), request_id="second")
    ended(principal, THEN, request_id="first", ended_at=THEN + timedelta(seconds=2), ttft_ms=12.5)
    running(principal, THEN + timedelta(hours=2), request_id="third")
    roll_up()
    head, *rest = rows_of(records())
    assert head == list(exports.RECORD)
    assert [row[0] for row in rest] == ["first", "second", "third"]
    first = dict(zip(head, rest[0], strict=True))
    assert first | {
        "started_at": "2026-11-01T12:00:00+00:00", "ended_at": "2026-11-01T12:00:02+00:00", "user": "olga",
        "team": "vision", "key": principal.key_prefix, "stream": "false", "prompt_tokens": "10", "ttft_ms": "12.5",
        "duration_ms": "", "cost": "",
    } == first  # fmt: skip


NASTY = [
    "=1+1", "+1", "-2+3", "@SUM(A1)", "\tx", "\rx", " =1", "=cmd|' /C calc'!A0", 'a"b', "a,b", "a\r\nb", "<b>", "ä☃",
]  # fmt: skip


@pytest.mark.parametrize("name", NASTY)
def test_names_are_only_text(principal: Principal, name: str):
    ended(principal, THEN, username=name, model=name)
    for text in (records(), exports.of_sums(["user", "model"], used(start=None, end=None, by=["user", "model"]))):
        head, row = rows_of(text)
        for value in (row[head.index("user")], row[head.index("model")]):
            assert value.removeprefix("'") == name
            assert value.lstrip()[0] not in "=+-@\t\r" and not value.startswith(("\t", "\r"))
    assert used(start=None, end=None, by=["user"])[0].of == {"user": name}


def test_a_chunk_a_query(principal: Principal, monkeypatch: pytest.MonkeyPatch):
    """Also where many rows are of the same moment."""
    # A smaller piece, so that ten rows make several: with the real one it would take thousands.
    monkeypatch.setattr(exports, "CHUNK", 3)
    ids = [ended(principal, THEN + timedelta(hours=number // 4)).request_id for number in range(10)]
    with CaptureQueriesContext(connection) as captured:
        texts = list(exports.of_records(UsageRecord.objects.all()))
    assert [len(rows_of(text)) for text in texts] == [1, 3, 3, 3, 1]
    assert len(captured) == 5, "prices, and one for each piece"
    assert not any("OFFSET" in query["sql"] for query in captured)
    assert [row[0] for text in texts[1:] for row in rows_of(text)] == ids


# --- The command


def test_the_command_writes_sums_and_records(principal: Principal, tmp_path: Path):
    ended(principal, THEN, username="=ada")
    file = tmp_path / "ü.csv"
    assert run("usage", "--days", "0", "--csv", str(file)) == ""
    assert rows_of(file.read_bytes().decode())[1][:2] == ["'=ada", "1"]
    assert rows_of(run("usage", "--days", "0", "--csv", "-"))[1][0] == "'=ada"
    assert len(rows_of(run("usage", "--days", "0", "--records"))) == 2
    run("usage", "--days", "0", "--records", "--csv", str(file))
    assert rows_of(file.read_bytes().decode())[1][3] == "'=ada"
    assert len(rows_of(run("usage", "--days", "0", "--records", "--model", "large"))) == 1


def test_days_of_the_command(principal: Principal, settings: Any):
    """From midnight to midnight where the platform is: on the day that clocks go back, 25 hours."""
    settings.TIME_ZONE = "Europe/Berlin"
    for hour in range(48):
        ended(principal, datetime(2026, 10, 24, 12, tzinfo=UTC) + timedelta(hours=hour))
    roll_up()
    [sums] = json.loads(run("usage", "--json", "--start", "2026-10-25", "--end", "2026-10-26"))
    assert sums["requests"] == 25
    assert len(rows_of(run("usage", "--records", "--start", "2026-10-25", "--end", "2026-10-26"))) == 26
    [sums] = json.loads(run("usage", "--json", "--start", "2026-10-24", "--end", "2026-10-25"))
    assert sums["requests"] == 10
    assert json.loads(run("usage", "--json", "--start", "2200-01-01")) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--csv", "/no/such/folder/x.csv"), "--csv: "),
        (("--csv", "a\0b"), "--csv: "),
        (("--records", "--json"), "--records: "),
        (("--start", "yesterday"), "--start: "),
        (("--start", "2026-02-30"), "--start: "),
        (("--start", "0001-01-01"), "--start: "),
        (("--start", "9999-12-31"), "--start: "),
        (("--start", "2026-02-02", "--end", "2026-02-02"), "--end: "),
        (("--user", "a\0"), "--user: "),
        (("--model", "a\0"), "--model: "),
    ],
)
def test_the_command_names_the_argument(db: None, arguments: tuple[str, ...], says: str):
    assert refused("usage", *arguments).startswith(says)


# --- The admin


def test_the_admin_exports_what_its_filters_leave(boss: Client, principal: Principal):
    for number in range(60):
        ended(principal, THEN + timedelta(hours=number), request_id=f"a-{number}")
    ended(principal, THEN, request_id="b", model="large")
    listing = boss.get(f"{page('usagerecord', 'changelist')}?q=a-1")
    [link] = [each["path"] for each in listing.context["actions_list"]]
    answer = boss.get(link)
    assert answer["Content-Type"].startswith("text/csv") and "attachment" in answer["Content-Disposition"]
    assert len(rows_of(sent(answer))) == 1 + 11
    assert len(rows_of(sent(boss.get(page("usagerecord", "export"))))) == 62
    assert boss.get(f"{page('usagerecord', 'export')}?team__id__exact=x").status_code == 302


def test_only_who_may_see_them(owner: Any, record: UsageRecord):
    assert signed_in(staff("view_apikey")).get(page("usagerecord", "export")).status_code == 403
    assert signed_in(owner).get(page("usagerecord", "export"))["Location"].startswith("/admin/login/")
    assert Client().get(page("usagerecord", "export")).status_code == 302
