import warnings
from typing import Any

from celery.beat import EmbeddedService
from celery.platforms import SecurityWarning
from django.conf import settings
from django.core.management.base import BaseCommand

from atelier.celery import app
from inference.process import watch_parent


class Command(BaseCommand):
    help = "Runs the worker for background jobs, with its timetable (Celery worker and beat)."

    def handle(self, *args: Any, **options: Any) -> None:
        watch_parent()
        # It warns root of pickled messages; ours are JSON, and no others are accepted.
        warnings.filterwarnings("ignore", category=SecurityWarning)
        # Celery's own --beat is a process, which outlives a worker that is killed and then rings twice.
        EmbeddedService(app, thread=True, schedule_filename=str(settings.DATA_DIR / "beat-schedule")).start()
        app.start(
            [
                "--quiet", "worker", "--pool", "threads", "--concurrency", "4", "--loglevel", "WARNING",
                "--hostname", "atelier@%h",
                # One host, one worker: nothing to gossip with.
                "--without-gossip", "--without-mingle", "--without-heartbeat",
            ]
        )  # fmt: skip
