"""A ledger of a million rows: how long each page, sum and export takes. Writes its table into docs/benchmarks.md.

    python -m tests.benchmarks.ledger [--rows N] [--database sqlite|postgresql] [--dry-run]

In a database of its own, in a temporary folder.
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

from tests.support.services import postgresql_server

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
DAYS = 365
TIMES = 5
MARKS = ("<!-- ledger -->", "<!-- /ledger -->")


@contextlib.contextmanager
def database(kind: str) -> Iterator[None]:
    """Settings are read once: they are chosen here, before Django is asked for anything."""
    with contextlib.ExitStack() as stack:
        os.environ["ATELIER_DATA_DIR"] = stack.enter_context(tempfile.TemporaryDirectory())
        os.environ["ATELIER_LOG_LEVEL"] = "ERROR"
        os.environ.pop("DATABASE_URL", None)
        if kind == "postgresql":
            os.environ["DATABASE_URL"] = stack.enter_context(postgresql_server())
        sys.path.insert(0, str(ROOT / "platform"))
        os.environ["DJANGO_SETTINGS_MODULE"] = "atelier.settings"
        import django

        django.setup()
        from django.db import connection

        try:
            yield
        finally:
            connection.close()
            if kind == "postgresql":
                # Its server waits for whoever is connected.
                connection.close_pool()


def measure(rows: int) -> list[tuple[str, float]]:
    """What was done, and its seconds: medians of TIMES, but for what can be done only once."""
    from django.core.management import call_command
    from django.db.models import Q
    from django.test import Client

    from accounts import exports
    from accounts.keyset import Place
    from accounts.models import UsageRecord
    from accounts.quotas.periods import Period
    from accounts.quotas.rules import Rule
    from accounts.quotas.seeding import settled
    from accounts.rollups import roll_up
    from accounts.services import do_create_user
    from accounts.usage import DAY, used, used_by_time
    from tests.support.large_ledger import analyze, fill, fill_audit, people

    call_command("migrate", verbosity=0)
    keys = people()
    until = datetime.now(UTC)
    took = [("make the rows", timed(lambda: fill(keys, rows, days=DAYS, until=until.timestamp())))]
    fill_audit(rows, days=DAYS, until=until.timestamp())
    took.append(("roll all of them up, at first", timed(roll_up)))
    UsageRecord.objects.filter(started_at__gte=until - timedelta(minutes=10)).update(is_rolled_up=False)
    analyze()
    client = Client(SERVER_NAME="localhost")
    client.force_login(do_create_user("root", password=None, is_admin=True, acting_user=None))
    key, deep = keys[3], f"p=older-{Place(until - timedelta(days=DAYS - 10), 1)}"
    pages = {
        "usage records: newest": "usagerecord/",
        "usage records: deep, 97 % down": f"usagerecord/?{deep}",
        "usage records: a user's, deep": f"usagerecord/?user__id__exact={key.user_id}&{deep}",
        "usage records: timeouts, deep": f"usagerecord/?outcome=timeout&{deep}",
        "usage records: outcome that no row has": "usagerecord/?outcome=engine_error",
        "usage records: a model's": "usagerecord/?model=model1",
        "usage records: request id": "usagerecord/?q=req_777777",
        "audit log: newest": "auditevent/",
        "audit log: an actor's, deep": f"auditevent/?actor=actor7&{deep}",
        "audit log: name of what was changed": "auditevent/?q=thing+777777",
        "usage: 30 days by team": "usagedaily/",
        "usage: a year by user": "usagedaily/?days=365&by=user",
    }
    for name, path in pages.items():
        took.append((f"admin, {name}", median(lambda path=path: opened(client, path))))  # type: ignore[misc]
    rule = Rule("q1", "tokens", "total", 5, "tokens in total", "x", UTC, user_id=key.user_id)
    start = until - timedelta(days=300, hours=5)
    sums: dict[str, Callable[[], Any]] = {
        "sums of 300 days by user": lambda: used(start=start, end=until, by=["user"]),
        "sums of 31 days by day and model": lambda: used_by_time(
            start=until - timedelta(days=31), end=until, width=DAY, by=["model"]
        ),
        "sums of a key's last 31 days": lambda: used(
            start=until - timedelta(days=31), end=None, where=Q(key_id=key.pk)
        ),
        "a quota in total, from the ledger": lambda: settled(rule, Period(None, None)),
    }
    took += [(name, median(work)) for name, work in sums.items()]
    took.append(("roll up ten minutes", timed(roll_up)))
    took.append(
        ("export every row as CSV", timed(lambda: sum(map(len, exports.of_records(UsageRecord.objects.all())))))
    )
    return took


def opened(client: Any, path: str) -> None:
    answer = client.get(f"/admin/accounts/{path}")
    assert answer.status_code == 200, path


def timed(work: Callable[[], Any]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def median(work: Callable[[], Any]) -> float:
    work()
    return statistics.median(timed(work) for _ in range(TIMES))


def written(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms" if seconds < 10 else f"{seconds:,.0f} s"


def section(rows: int, kind: str, took: list[tuple[str, float]], load: tuple[float, ...]) -> str:
    table = "\n".join(f"| {name} | {written(seconds)} |" for name, seconds in took)
    return (
        f"{rows:,} rows of {DAYS} days and as many of the audit log, on {kind}, measured on {date.today()} with "
        f"`make bench-ledger`; load average {load[0]:.1f} before and {load[1]:.1f} after, on {os.cpu_count()} cores. "
        f"Medians of {TIMES}, but for what is done once.\n\n| | |\n|---|---|\n{table}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--dry-run", action="store_true", help="print it, and leave the page as it is")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    with database(options.database):
        took = measure(options.rows)
    kind = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[options.database]
    text = section(options.rows, kind, took, (before, os.getloadavg()[0]))
    print(text)
    if not options.dry_run:
        opening, closing = (mark.replace("ledger", f"ledger-{options.database}") for mark in MARKS)
        head, _, rest = PAGE.read_text().partition(opening)
        PAGE.write_text(f"{head}{opening}\n{text}{closing}{rest.partition(closing)[2]}")


if __name__ == "__main__":
    main()
