"""A ledger and an audit log of any size, made by the database itself."""

from django.db import connection

from accounts.models import ApiKey, UsageRecord
from accounts.services import do_add_member, do_create_team, do_create_user, do_issue_key

TEAMS = 5
USERS = 20
MODELS = 3

_NUMBERS = {
    "sqlite": "(WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {last}) SELECT i FROM n) AS n",
    "postgresql": "generate_series(0, {last}) AS n(i)",
}
_TIME = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', {seconds}, 'unixepoch')",
    "postgresql": "to_timestamp({seconds})",
}


def people() -> list[ApiKey]:
    """USERS in TEAMS with a key each. Their ids follow each other."""
    teams = [do_create_team(f"Team {number}", acting_user=None) for number in range(TEAMS)]
    keys = []
    for number in range(USERS):
        user, team = do_create_user(f"user{number:02}", password=None, acting_user=None), teams[number % TEAMS]
        do_add_member(team, user, acting_user=None)
        keys.append(do_issue_key(user, team=team, acting_user=None).row)
    return keys


def fill(keys: list[ApiKey], count: int, *, days: int, until: float) -> None:
    """Adds so many settled rows, evenly over so many days before `until` (Unix seconds). A thousandth timed out, a
    tenth reached its length. Needs a database where nobody else made users and keys meanwhile."""
    first = keys[0]
    keyed = f"{first.pk} + i % {USERS}"
    values = {
        "request_id": "'req_' || i",
        "key_id": keyed,
        "key_prefix": f"(SELECT prefix FROM {ApiKey._meta.db_table} WHERE id = {keyed})",
        "user_id": f"{first.user_id} + i % {USERS}",
        "username": f"'user' || substr('0' || (i % {USERS}), -2)"
        if connection.vendor == "sqlite"
        else f"'user' || lpad((i % {USERS})::text, 2, '0')",
        "team_id": f"{first.team_id} + i % {TEAMS}",
        "model": f"'model' || (i % {MODELS})",
        "endpoint": "'chat.completions'",
        "stream": "i % 2 = 0",
        "gateway": "'mac-studio:8000'",
        "state": "'settled'",
        "outcome": "CASE WHEN i % 1000 = 999 THEN 'timeout' WHEN i % 10 = 0 THEN 'length' ELSE 'stop' END",
        "estimated_prompt_tokens": "100",
        "prompt_tokens": "100 + i % 900",
        "cached_tokens": "i % 100",
        "completion_tokens": "i % 500",
        "engine_seconds": "(i % 700) / 100.0",
        "started_at": _time(until, days, count),
        "ended_at": _time(until, days, count),
        "is_rolled_up": "1 = 0",
    }
    _insert(UsageRecord._meta.db_table, values, count)


def fill_audit(count: int, *, days: int, until: float) -> None:
    """The same for the audit log: ten actions, a hundred actors."""
    values = {
        "actor_name": "'actor' || (i % 100)",
        "action": "'thing.changed' || (i % 10)",
        "target_type": "'thing'",
        "target_id": "i",
        "target_label": "'thing ' || i",
        "created_at": _time(until, days, count),
    }
    _insert("accounts_auditevent", values, count)


def analyze() -> None:
    """As both databases do now and then by themselves, or as roll-ups have SQLite do it."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _time(until: float, days: int, count: int) -> str:
    return _TIME[connection.vendor].format(seconds=f"({until:.0f} - ({count} - i) * {days * 86_400 / count!r})")


def _insert(table: str, values: dict[str, str], count: int) -> None:
    numbers = _NUMBERS[connection.vendor].format(last=count - 1)
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} ({', '.join(values)}) SELECT {', '.join(values.values())} FROM {numbers}")
