"""The worker's timetable."""

from datetime import timedelta

from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.models import UsageRecord
from accounts.tasks import clear_sessions, interrupt_abandoned
from atelier.celery import app
from tests.accounts.admin_pages import open_record


def test_rows_that_nobody_will_close_are_interrupted(principal, settings):
    abandoned, running = open_record(principal, "old"), open_record(principal, "new")
    age = timedelta(seconds=2 * settings.REQUEST_TIMEOUT_SECONDS, hours=1, minutes=1)
    UsageRecord.objects.filter(pk=abandoned.pk).update(started_at=timezone.now() - age)
    assert interrupt_abandoned() == 1
    abandoned.refresh_from_db()
    running.refresh_from_db()
    assert (abandoned.state, abandoned.outcome) == ("interrupted", "interrupted")
    assert abandoned.ended_at is not None
    assert running.is_running()
    assert interrupt_abandoned() == 0, "once is enough"


def test_expired_sessions_go_and_others_stay(db):
    for name, days in (("old", -1), ("new", 1)):
        Session.objects.create(session_key=name, session_data="", expire_date=timezone.now() + timedelta(days=days))
    clear_sessions()
    assert [session.session_key for session in Session.objects.all()] == ["new"]


def test_the_timetable_names_tasks_that_exist():
    app.loader.import_default_modules()
    assert {entry["task"] for entry in app.conf.beat_schedule.values()} <= set(app.tasks)
