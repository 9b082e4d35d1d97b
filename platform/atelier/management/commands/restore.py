from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from atelier.backup.errors import BackupError
from atelier.backup.verbs import do_restore
from atelier.management.commands.serve import only_one
from gateway import presence


class Command(BaseCommand):
    help = "Puts a backup in this installation's place. The server must not run."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="what `atelier backup` has written")
        parser.add_argument(
            "--force", action="store_true", help="also where there are users already, or others use the database"
        )

    def handle(self, *args: Any, file: Path, force: bool, **options: Any) -> None:
        with only_one():
            if names := presence.names():
                raise CommandError(f"Gateways run on this data folder: {', '.join(names)}. Stop them first.")
            try:
                manifest = do_restore(file.expanduser(), force=force, say=self.stdout.write)
            except BackupError as error:
                raise CommandError(str(error)) from error
            except DatabaseError as error:
                raise CommandError(f"The database does not do what was asked ({error}). Check DATABASE_URL.") from error
        self.stdout.write(f"Restored, as of {manifest.created} (Atelier {manifest.version}).")
