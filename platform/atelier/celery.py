"""The Celery app: work that outlives a request. Tasks live in each app's `tasks` module."""

import os

from celery import Celery
from celery.schedules import crontab

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "atelier.settings")

app = Celery("atelier")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.conf.beat_schedule = {
    "clear-sessions": {"task": "accounts.tasks.clear_sessions", "schedule": crontab(minute="17", hour="4")},
    "delete-expired-responses": {
        "task": "accounts.tasks.delete_expired_responses",
        "schedule": crontab(minute="41"),
    },
    "interrupt-abandoned": {"task": "accounts.tasks.interrupt_abandoned", "schedule": crontab(minute="*/10")},
    "settle-lost-reservations": {
        "task": "accounts.tasks.settle_lost_reservations",
        "schedule": crontab(minute="5-59/10"),
    },
}
