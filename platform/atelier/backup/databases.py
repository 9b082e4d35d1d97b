"""How each kind of database is copied while it is used, and replaced as a whole."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Literal, Protocol

import psycopg
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection
from psycopg.conninfo import make_conninfo

from atelier.backup.errors import BackupError

OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
CLOSING_SECONDS = 2.0
LOCK_TIMEOUT = "30s"
"""How long a restore waits for somebody else's lock."""


Kind = Literal["sqlite", "postgresql"]


class Database(Protocol):
    @property
    def kind(self) -> Kind: ...

    def dump(self, file: Path) -> None:
        """A copy as of one moment, whatever is written meanwhile. Raises BackupError."""

    def prepare(self, file: Path) -> None:
        """What can be done to a dump before it takes the database's place. Raises BackupError."""

    def in_use(self) -> bool:
        """Whether others are connected, as far as that can be told."""

    def replace(self, file: Path, aside: Path | None) -> bool:
        """The dump takes the database's place, whole or not at all. aside: a folder that is not there yet, to keep the
        old one in; whether that is done. Raises BackupError."""


def current() -> Database:
    return SQLite() if connection.vendor == "sqlite" else PostgreSQL()


class SQLite:
    kind: Kind = "sqlite"

    def __init__(self) -> None:
        self._path = Path(settings.DATABASES[DEFAULT_DB_ALIAS]["NAME"])

    def dump(self, file: Path) -> None:
        if not self._path.is_file():
            raise BackupError(f"There is no database at {self._path} yet; nothing is to be saved.")
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            with (
                contextlib.closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=30)) as source,
                contextlib.closing(sqlite3.connect(file)) as copy,
            ):
                # In one go: a reader does not hold up writers in WAL, and a copy in pieces begins anew at each write.
                source.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.Error as error:
            raise BackupError(f"The database {self._path} can't be copied: {error}.") from error

    def prepare(self, file: Path) -> None:
        try:
            with contextlib.closing(sqlite3.connect(file)) as copy:
                [said] = copy.execute("PRAGMA integrity_check(1)").fetchone()
        except sqlite3.Error as error:
            said = str(error)
        if said != "ok":
            raise BackupError(f"The database in the backup is damaged: {said}.")

    def in_use(self) -> bool:
        """The lock of `serve` and those of the gateways say it."""
        return False

    def replace(self, file: Path, aside: Path | None) -> bool:
        connection.close()
        try:
            with contextlib.closing(sqlite3.connect(self._path, timeout=5)) as old:
                # What is in the log goes into the file, so that the file alone is all of it.
                busy, *_ = old.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise BackupError(f"The database {self._path} is in use. Stop what uses it first.")
            if aside is not None:
                aside.mkdir(mode=0o700)
                os.link(self._path, aside / self._path.name)
            for ending in ("-wal", "-shm"):
                self._path.with_name(self._path.name + ending).unlink(missing_ok=True)
            file.replace(self._path)
        except (OSError, sqlite3.Error) as error:
            raise BackupError(f"The database {self._path} can't be replaced: {error}.") from error
        return aside is not None


class PostgreSQL:
    kind: Kind = "postgresql"

    def dump(self, file: Path) -> None:
        self._run("pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={file}")
        file.chmod(0o600)

    def prepare(self, file: Path) -> None:
        self._run("pg_restore", "--list", str(file), connect=False)

    def in_use(self) -> bool:
        # Our own pool may have opened more than one; it is gone a moment after it was closed.
        connection.close()
        connection.close_pool()  # type: ignore[attr-defined]  # PostgreSQL's only
        until = time.monotonic() + CLOSING_SECONDS
        with psycopg.connect(self._address(), password=self._password()) as direct:
            while True:
                [others] = direct.execute(OTHERS).fetchone()  # type: ignore[misc]  # a count is always one row
                if not others or time.monotonic() > until:
                    return bool(others)
                time.sleep(0.1)

    def replace(self, file: Path, aside: Path | None) -> bool:
        connection.close()
        # One transaction: it is all there, or nothing has changed. The old tables are dropped in it.
        self._run(
            "pg_restore", "--single-transaction", "--exit-on-error", "--clean", "--if-exists", "--no-owner",
            "--no-privileges", str(file), PGOPTIONS=f"-c lock_timeout={LOCK_TIMEOUT}",
        )  # fmt: skip
        return False

    def _run(self, program: str, *arguments: str, connect: bool = True, **environment: str) -> None:
        """Its password goes by the environment: command lines are for everybody to see."""
        if (found := shutil.which(program)) is None:
            raise BackupError(
                f"{program} is missing. Install PostgreSQL's client programs (Debian: postgresql-client, "
                "Homebrew: libpq), of the server's version or a newer one."
            )
        if password := self._password():
            environment["PGPASSWORD"] = password
        where = [f"--dbname={self._address()}"] if connect else []
        done = subprocess.run(
            [found, *where, *arguments], env={**os.environ, **environment}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BackupError(f"{program} failed: {' '.join(done.stderr.split())[-1000:]}")

    @staticmethod
    def _address() -> str:
        """All of the URL but the password."""
        given = connection.get_connection_params()
        facts = {name: str(value) for name, value in given.items() if isinstance(value, str | int)}
        facts.pop("password", None)
        return make_conninfo(**facts)

    @staticmethod
    def _password() -> str | None:
        return connection.get_connection_params().get("password")
