"""The worker's timetable."""

from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.models import UsageRecord, User
from accounts.quotas.limiter import Limiter
from accounts.quotas.redis_counters import RedisCounters
from accounts.quotas.rules import Rules, Scope
from accounts.quotas.verbs import do_set_quota
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


@pytest.mark.django_db(transaction=True)
def test_what_they_have_reserved_is_given_back(principal, settings, redis_counters: str):
    """In Redis, where another gateway's counters outlive it."""
    settings.REDIS_URL = redis_counters
    do_set_quota(metric="tokens", window="total", limit=1000, user=User.objects.get(), acting_user=None)
    scope = Scope(principal.key_id, principal.user_id, principal.team_id, "atelier-tiny")

    async def used(reserve: bool) -> float:
        counters = RedisCounters(redis_counters)
        limiter = Limiter(Rules(), counters)
        try:
            if reserve:
                await limiter.reserve("old", scope, prompt_tokens=100, most=50)
            standings = await limiter.standings(scope)
            return next(each.used for each in standings if each.rule.window == "total")
        finally:
            await counters.close()

    assert async_to_sync(used)(True) == 150
    abandoned = open_record(principal, "old")
    UsageRecord.objects.filter(pk=abandoned.pk).update(started_at=timezone.now() - timedelta(days=2))
    assert interrupt_abandoned() == 1
    assert async_to_sync(used)(False) == 0


def test_expired_sessions_go_and_others_stay(db):
    for name, days in (("old", -1), ("new", 1)):
        Session.objects.create(session_key=name, session_data="", expire_date=timezone.now() + timedelta(days=days))
    clear_sessions()
    assert [session.session_key for session in Session.objects.all()] == ["new"]


def test_the_timetable_names_tasks_that_exist():
    app.loader.import_default_modules()
    assert {entry["task"] for entry in app.conf.beat_schedule.values()} <= set(app.tasks)
