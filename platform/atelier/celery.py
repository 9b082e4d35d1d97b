"""The Celery app: work that outlives a request. Tasks live in each app's `tasks` module."""

import os

from celery import Celery
from celery.schedules import crontab

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "atelier.settings")

BATCHES_SECONDS = 5.0
"""Until a new batch, or one whose worker died, is found at the latest."""
DOWNLOADS_SECONDS = 3.0
"""The same for downloads."""

app = Celery("atelier")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.conf.beat_schedule = {
    "clear-sessions": {"task": "accounts.tasks.clear_sessions", "schedule": crontab(minute="17", hour="4")},
    "delete-expired-responses": {
        "task": "accounts.tasks.delete_expired_responses",
        "schedule": crontab(minute="41"),
    },
    "delete-expired-files": {"task": "accounts.tasks.delete_expired_files", "schedule": crontab(minute="47")},
    "work-on-batches": {
        "task": "gateway.tasks.work_on_batches",
        "schedule": BATCHES_SECONDS,
        # A worker that was away has enough of one of them.
        "options": {"expires": BATCHES_SECONDS},
    },
    "settle-lost-reservations": {
        "task": "accounts.tasks.settle_lost_reservations",
        "schedule": crontab(minute="5-59/10"),
    },
    "forget-old-records": {"task": "accounts.tasks.forget_old_records", "schedule": crontab(minute="29", hour="3")},
    "interrupt-abandoned": {"task": "accounts.tasks.interrupt_abandoned", "schedule": crontab(minute="*/10")},
    "work-on-downloads": {
        "task": "inference.tasks.work_on_downloads",
        "schedule": DOWNLOADS_SECONDS,
        "options": {"expires": DOWNLOADS_SECONDS},
    },
    "roll-up-usage": {"task": "accounts.tasks.roll_up_usage", "schedule": crontab(minute="3-59/10")},
}
