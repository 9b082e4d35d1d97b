from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from atelier.backup.errors import BackupError
from atelier.backup.verbs import do_back_up


class Command(BaseCommand):
    help = "Saves database and secret key in one file, while the server runs. It holds secrets: keep it safe."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "file", type=Path, help="where to; .tar, .tar.gz or .tar.xz; a file of that name is replaced"
        )
        parser.add_argument(
            "--without-secret",
            action="store_true",
            help="leave the secret key out: API keys and sessions then need the same ATELIER_SECRET_KEY",
        )

    def handle(self, *args: Any, file: Path, without_secret: bool, **options: Any) -> None:
        try:
            size = do_back_up(file.expanduser(), with_secret=not without_secret)
        except BackupError as error:
            raise CommandError(str(error)) from error
        except DatabaseError as error:
            raise CommandError(f"The database can't be read ({error}). Check DATABASE_URL.") from error
        self.stdout.write(f"{file}: {size / 1e6:.1f} MB, readable for its owner only.")
