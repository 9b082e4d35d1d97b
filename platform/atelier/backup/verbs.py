"""Making a backup, and taking its place."""

import os
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import redis
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.loader import MigrationLoader

from accounts import audit
from accounts.models import User
from accounts.quotas.redis_counters import PREFIX
from atelier.backup import archive, databases
from atelier.backup.archive import Contents, Manifest
from atelier.backup.errors import BackupError
from inference.services import do_forget_deployments

Say = Callable[[str], None]
SECRET_FILE = "secret_key"


def do_back_up(file: Path, *, with_secret: bool) -> int:
    """Everything as of one moment, while requests run. Its size in bytes. Raises BackupError."""
    archive.compression(file)
    database = databases.current()
    with tempfile.TemporaryDirectory(prefix="backup-", dir=settings.DATA_DIR) as folder:
        dump = Path(folder) / "database"
        database.dump(dump)
        manifest = Manifest(
            format=archive.FORMAT,
            version=version("atelier"),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            database=database.kind,
            migrations=sorted(f"{app}.{name}" for app, name in MigrationLoader(connection).applied_migrations),
        )
        archive.write(file, manifest, dump, settings.SECRET_KEY if with_secret else None)
    return file.stat().st_size


def do_restore(file: Path, *, force: bool, say: Say) -> Manifest:
    """The backup takes this installation's place; what was there is kept aside where that can be. To be called with
    the locks held that keep everything else from running. Raises BackupError; then nothing was changed."""
    database = databases.current()
    with (
        tempfile.TemporaryDirectory(prefix="restore-", dir=settings.DATA_DIR) as folder,
        archive.unpacked(file, Path(folder)) as contents,
    ):
        manifest = contents.manifest
        check_origin(manifest, database.kind)
        secret = secret_to_be(contents)
        empty = has_no_users()
        if not force:
            check_free(database, empty)
        database.prepare(contents.database)
        forget_counters()
        aside = None if empty else settings.DATA_DIR / f"replaced-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        kept = database.replace(contents.database, aside)
        write_secret(secret, aside if kept else None)
    if kept:
        say(f"What was here before is kept in {aside}. Delete it when it is not needed any more.")
    if contents.secret_key is None:
        say("The backup holds no secret key: its API keys work only with the secret that they were made with.")
    connection.close()
    call_command("migrate", interactive=False, verbosity=0)
    with transaction.atomic():
        # What is served, and where, is said by the next `serve`: the backup may be of another host.
        do_forget_deployments()
        after = {"created": manifest.created, "version": manifest.version}
        audit.record("installation.restored", None, acting_user=None, after=after)
    return manifest


def check_origin(manifest: Manifest, kind: str) -> None:
    if manifest.database != kind:
        raise BackupError(
            f"The backup is of {manifest.database}, and DATABASE_URL names {kind}. Restore it into an empty "
            f"{manifest.database} database."
        )
    loader = MigrationLoader(None)
    known = {f"{app}.{name}" for app, name in loader.disk_migrations}
    if unknown := sorted(set(manifest.migrations) - known):
        raise BackupError(
            f"The backup was made by a newer Atelier ({manifest.version}; this is {version('atelier')}), which knows "
            f"{unknown[0]}. Upgrade first."
        )


def secret_to_be(contents: Contents) -> str | None:
    """What has to be written into the data folder, if anything."""
    if contents.secret_key is None or contents.secret_key == settings.SECRET_KEY:
        return None
    if os.environ.get("ATELIER_SECRET_KEY", "").strip():
        raise BackupError(
            "ATELIER_SECRET_KEY is not the secret of the backup, with which its API keys were made. Set it to that "
            "one, or unset it: the backup's is then kept in the data folder."
        )
    return contents.secret_key


def has_no_users() -> bool:
    return "accounts_user" not in connection.introspection.table_names() or not User.objects.exists()


def check_free(database: databases.Database, empty: bool) -> None:
    if not empty:
        raise BackupError("This installation has users already. Their data would be replaced: say --force to do so.")
    if database.in_use():
        raise BackupError("Others are connected to this database. Stop them, or say --force.")


def forget_counters() -> None:
    """They are a memory of the ledger that goes. Raises BackupError where Redis does not answer."""
    if not settings.REDIS_URL:
        return
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=10.0, socket_connect_timeout=5.0) as client:
            for key in client.scan_iter(f"{PREFIX}*", count=500):
                client.delete(key)
    except (redis.RedisError, ValueError) as error:
        raise BackupError(f"Redis (ATELIER_REDIS_URL) does not answer: {type(error).__name__}.") from error


def write_secret(secret: str | None, aside: Path | None) -> None:
    """aside: where the one before is kept."""
    if secret is None:
        return
    file = settings.DATA_DIR / SECRET_FILE
    if aside is not None and file.is_file():
        os.link(file, aside / SECRET_FILE)
    draft = file.with_name(f"{SECRET_FILE}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(secret)
    draft.replace(file)
