"""Database, Redis, and the processes of the platform."""

import fcntl
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import psycopg
import redis
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection
from django.db.migrations.executor import MigrationExecutor
from psycopg.conninfo import make_conninfo

from atelier.doctor.finding import Finding, Status
from gateway import presence
from gateway.management.commands.gateway import is_loopback

PATIENCE_SECONDS = 5
OLDEST_POSTGRESQL = 14
"""As Django 5.2 asks."""
CLOCK_WARNING_SECONDS, CLOCK_FAIL_SECONDS = 2.0, 30.0
BEAT_SECONDS = 900
"""Its schedule is written every three minutes."""


def _postgresql() -> psycopg.Connection[Any]:
    """A connection of its own: the pool would wait for half a minute."""
    given = connection.get_connection_params()
    facts = {name: str(value) for name, value in given.items() if isinstance(value, str | int)}
    return psycopg.connect(make_conninfo(**{**facts, "connect_timeout": str(PATIENCE_SECONDS)}))


def check_database() -> Finding:
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            [mode] = cursor.execute("PRAGMA journal_mode").fetchone()
            [version] = cursor.execute("select sqlite_version()").fetchone()
        if mode != "wal":
            return Finding(
                "fail", f"SQLite {version} in mode {mode}: writers keep readers waiting.",
                "Its folder has to be on a local disk that can be written.",
            )  # fmt: skip
        return Finding("pass", f"SQLite {version}, WAL.")
    try:
        with _postgresql() as direct:
            version = direct.info.server_version // 10000
            most = int(direct.execute("show max_connections").fetchone()[0])  # type: ignore[index]
    except psycopg.OperationalError as error:
        return Finding("fail", f"PostgreSQL does not answer: {error}".splitlines()[0], "Check DATABASE_URL.")
    if version < OLDEST_POSTGRESQL:
        return Finding("fail", f"PostgreSQL {version}.", f"Upgrade it to {OLDEST_POSTGRESQL} or newer.")
    pool = settings.DATABASES[DEFAULT_DB_ALIAS]["OPTIONS"]["pool"]["max_size"]
    return pool_finding(version, pool, most)


def pool_finding(version: int, pool: int, most: int) -> Finding:
    """pool, most: connections that a process opens and that the server takes."""
    needed = pool * (settings.GATEWAYS + 2)
    said = f"PostgreSQL {version}; up to {pool} connections a process, {needed} of this host, of {most}."
    if needed > most:
        return Finding("warning", said, "Lower ATELIER_DATABASE_POOL or raise max_connections.")
    return Finding("pass", said)


def check_migrations() -> Finding:
    executor = MigrationExecutor(connection)
    if waiting := executor.migration_plan(executor.loader.graph.leaf_nodes()):
        return Finding("fail", f"{len(waiting)} are not applied.", "atelier migrate; `serve` does it by itself.")
    if unknown := set(executor.loader.applied_migrations) - set(executor.loader.disk_migrations):
        return Finding(
            "fail", f"The database is of a newer Atelier: {'.'.join(sorted(unknown)[0])}.", "Upgrade this one."
        )
    return Finding("pass", "All are applied.")


def _redis() -> "redis.Redis":
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=PATIENCE_SECONDS, socket_connect_timeout=PATIENCE_SECONDS,
        decode_responses=True,
    )  # fmt: skip


def check_redis() -> Finding:
    if not settings.REDIS_URL:
        return Finding("pass", "None, and one gateway needs none.")
    try:
        with _redis() as client:
            said: dict[str, Any] = client.info()
            saved = client.config_get("save", "appendonly")
    except redis.ResponseError as error:
        return Finding("unknown", f"It does not tell about itself: {error}.", "It must not evict: noeviction.")
    except (redis.RedisError, ValueError) as error:
        return Finding("fail", f"It does not answer: {type(error).__name__}.", "Check ATELIER_REDIS_URL.")
    version, policy = said["redis_version"], said["maxmemory_policy"]
    if policy != "noeviction" and said["maxmemory"]:
        return Finding(
            "fail", f"Redis {version} may evict counters of quotas and jobs of the worker ({policy}).",
            "maxmemory-policy noeviction",
        )  # fmt: skip
    url = urlsplit(settings.REDIS_URL)
    if url.scheme == "redis" and not url.password and not is_loopback(url.hostname or "localhost"):
        return Finding(
            "warning", f"Redis {version} on {url.hostname}: no password, no TLS.", "Set one, or keep others away."
        )
    if policy != "noeviction":
        return Finding(
            "warning", f"Redis {version} has no limit of memory; with one it would evict ({policy}).",
            "maxmemory-policy noeviction",
        )  # fmt: skip
    if not saved.get("save") and saved.get("appendonly") != "yes":
        return Finding(
            "warning", f"Redis {version} keeps nothing: when it restarts, jobs that wait are lost, and counters are "
            "counted anew from the ledger.", "appendonly yes",
        )  # fmt: skip
    return Finding("pass", f"Redis {version}, {policy}, persistent.")


def check_gateways() -> Finding:
    names = presence.names()
    several = max(settings.GATEWAYS, len(names)) > 1
    said = f"Running here: {', '.join(names) or 'none'}."
    if several and not settings.REDIS_URL:
        return Finding("fail", f"{said} Each counts limits by itself.", "Set ATELIER_REDIS_URL for all of them.")
    if several and connection.vendor == "sqlite":
        return Finding("warning", f"{said} SQLite takes one writer at a time.", "Use PostgreSQL for several gateways.")
    return Finding("pass", said)


def check_clock() -> Finding:
    """Beside the machines that the database and Redis run on: windows of quotas begin by the gateways' clocks."""
    offsets = {}
    if connection.vendor == "postgresql":
        with _postgresql() as direct:
            [there] = direct.execute("select clock_timestamp()").fetchone()  # type: ignore[misc]
            offsets["PostgreSQL"] = (datetime.now(UTC) - there).total_seconds()
    if settings.REDIS_URL:
        with _redis() as client:
            seconds, micros = client.time()
            offsets["Redis"] = time.time() - seconds - micros / 1e6
    return clock_finding(offsets)


def clock_finding(offsets: dict[str, float]) -> Finding:
    """Seconds that we are ahead of each."""
    if not offsets:
        return Finding("pass", "There is no other to compare it with.")
    worst = max(offsets.values(), key=abs)
    said = ", ".join(f"{offset:+.1f} s of {name}'s" for name, offset in offsets.items())
    if abs(worst) > CLOCK_WARNING_SECONDS:
        status: Status = "fail" if abs(worst) > CLOCK_FAIL_SECONDS else "warning"
        return Finding(status, f"It is {said}.", "Keep the clocks of all hosts in step (NTP).")
    return Finding("pass", f"It is {said}.")


def check_worker() -> Finding:
    if not is_served():
        return Finding("unknown", "Atelier does not run on this data folder now.")
    from atelier.celery import app  # takes a tenth of a second

    if not app.control.ping(timeout=PATIENCE_SECONDS, limit=1):
        return Finding("warning", "It does not answer: background work and the timetable wait.", "See its log.")
    schedule = list(settings.DATA_DIR.glob("beat-schedule*"))
    age = time.time() - max((file.stat().st_mtime for file in schedule), default=0.0)
    if age > BEAT_SECONDS:
        return Finding("warning", "It answers, but its timetable stands still.", "Restart Atelier.")
    return Finding("pass", "It answers, and its timetable runs.")


def is_served() -> bool:
    """Whether `serve` holds the data folder."""
    file = settings.DATA_DIR / "serve.lock"
    if not file.is_file():
        return False
    with file.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


SERVICES = {
    "database": check_database,
    "migrations": check_migrations,
    "Redis": check_redis,
    "gateways": check_gateways,
    "clock": check_clock,
    "worker": check_worker,
}
