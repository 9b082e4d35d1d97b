import sys
import threading
from argparse import ArgumentParser, ArgumentTypeError
from time import monotonic
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from accounts.management.base import AccountCommand
from accounts.terminal import console_on, printable
from inference import downloads, library
from inference.downloads import NotOfHub, claim, do_cancel_download, do_request_download, work_on
from inference.hub.cache import gb
from inference.models import Download, Model
from inference.sources import SourceError, load_path

LOOK_SECONDS = 0.5
INTERRUPTED = 130
"""Exit code, as shells have it for Ctrl-C."""


class Command(AccountCommand):
    help = "Downloads a model from a Hugging Face hub, or goes on where it was left."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model", metavar="MODEL", help="a Hugging Face id, such as mlx-community/Qwen3-4B-4bit")
        parser.add_argument("--revision", default="", help="a branch, a tag or a commit to pin it to")
        parser.add_argument(
            "--timeout", "--download-timeout",
            type=seconds, metavar="SECONDS",
            help=f"without a byte, then another try (ATELIER_DOWNLOAD_TIMEOUT, {settings.DOWNLOAD_TIMEOUT_SECONDS:g})",
        )  # fmt: skip
        parser.add_argument(
            "--retries", "--download-retries",
            type=count, metavar="N",
            help=f"attempts more that may fail in a row (ATELIER_DOWNLOAD_RETRIES, {settings.DOWNLOAD_RETRIES})",
        )  # fmt: skip
        parser.add_argument("--offline", action="store_true", help="only say whether it is here, whole")
        parser.add_argument("--force", action="store_true", help="although it could not be served here")
        parser.add_argument("--detach", action="store_true", help="leave it to the worker, and return at once")

    def handle(self, *args: Any, model: str, revision: str, **options: Any) -> None:
        try:
            source, known = library.named(model, revision)
            if not source.is_of_hub:
                raise NotOfHub
            found = known or library.do_add_model(source, acting_user=None)
            if options["offline"] or settings.OFFLINE:
                self.say_whether_here(found)
                return
            given = {name: options[name] for name in ("retries", "timeout", "force")}
            download = do_request_download(found, acting_user=None, revision=source.revision, **given)
        except NotOfHub:
            raise CommandError(f"{model} is here already: only models of a Hugging Face hub are downloaded.") from None
        except SourceError as error:
            raise CommandError(str(error)) from error
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        if options["detach"]:
            self.stdout.write("The worker gets it. `atelier models` shows how far it is.")
            return
        self.follow(download)

    def say_whether_here(self, model: Model) -> None:
        if not library.adopt(model):
            raise CommandError(f"{model} is not here, or not all of it, and offline nothing can be fetched.")
        model.save(update_fields=["commit"])
        self.stdout.write(f"{model} is here: {load_path(model.source, model.commit)}")

    def follow(self, download: Download) -> None:
        """Fetches it here, or watches the process that does."""
        name = printable(download.model)
        bar = Bar(self, name)
        try:
            with bar:
                mine = claim(download)
                if mine is not None:
                    download = self.fetch(mine, bar)
                else:
                    self.stdout.write(f"Another process is fetching {name} already; this one watches.")
                    download = watch(download, bar)
        except KeyboardInterrupt:
            self.cancel(download)
            sys.exit(INTERRUPTED)
        match download.state:
            case Download.State.DONE:
                self.stdout.write(f"{name} is here, {gb(download.bytes_total)}: {self.folder(download)}")
            case Download.State.CANCELLED:
                raise CommandError(f"{name} was cancelled. What was fetched is kept: download it again to go on.")
            case Download.State.FAILED:
                raise CommandError(printable(download.error))
            case _:
                raise CommandError(f"{name} goes on in another process: see `atelier models`.")

    def fetch(self, download: Download, bar: "Bar") -> Download:
        return work_on(
            download, threading.Event(), lambda progress: bar.show(progress.bytes_done, progress.bytes_total)
        )

    def cancel(self, download: Download) -> None:
        try:
            do_cancel_download(download, acting_user=None)
        except downloads.AlreadyEnded:
            return
        self.stderr.write("Cancelled. What was fetched is kept: the same command goes on from there.")

    def folder(self, download: Download) -> str:
        download.model.refresh_from_db()
        return load_path(download.model.source, download.model.commit)


def watch(download: Download, bar: "Bar") -> Download:
    done = threading.Event()
    while not download.is_finished():
        done.wait(LOOK_SECONDS)
        download = Download.objects.select_related("model").get(pk=download.pk)
        bar.show(download.bytes_done, download.bytes_total)
        if claimed := claim(download):
            # Whoever had it has died, or was stopped.
            return work_on(claimed, threading.Event(), lambda each: bar.show(each.bytes_done, each.bytes_total))
    return download


class Bar:
    """A bar for people; for pipes and logs a line now and then."""

    LINE_SECONDS = 10.0

    def __init__(self, command: AccountCommand, name: str):
        self._out = command.stdout
        self._name = name
        self._spoken = monotonic()
        columns = (
            TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
            TimeRemainingColumn(),
        )  # fmt: skip
        self._progress = Progress(*columns, console=console_on(self._out), disable=not self._out.isatty())
        self._task = self._progress.add_task(name, total=None)

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def show(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total or None)
        if self._progress.disable and total and monotonic() - self._spoken >= self.LINE_SECONDS:
            self._spoken = monotonic()
            self._out.write(f"{self._name}: {gb(done)} of {gb(total)}")


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 86_400:
        raise ArgumentTypeError(f"{text[:40]!r} must be seconds, from 0.1 to 86400")
    return value


def count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:6]) <= 1000):
        raise ArgumentTypeError(f"{text[:40]!r} must be a whole number from 0 to 1000")
    return int(text)
