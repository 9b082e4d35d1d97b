from datetime import timedelta
from typing import Any

from django.test import Client
from django.utils import timezone

from accounts import ledger
from accounts.authentication import Principal
from accounts.models import AuditEvent, Quota, QuotaBoost, User
from accounts.quotas.verbs import do_set_quota
from tests.accounts.admin_pages import page
from tests.accounts.test_ledger import FIGURES, open_one

NO_BOOSTS = {"boosts-TOTAL_FORMS": 0, "boosts-INITIAL_FORMS": 0}


def form(**fields: Any) -> dict[str, Any]:
    return {
        "metric": "tokens", "window": "day", "limit": 100, "warn_percent": 80, "is_active": "on", "input_weight": 1,
        "cached_weight": 1, "output_weight": 1, **NO_BOOSTS, **fields,
    }  # fmt: skip


def test_adding_changing_and_deleting(boss: Client, root: User, owner: User):
    assert boss.post(page("quota", "add"), form(user=owner.pk)).status_code == 302
    made = Quota.objects.get()
    assert (made.user, made.limit, made.is_active) == (owner, 100, True)
    assert boss.post(page("quota", "change", made.pk), form(limit=70, is_soft="on")).status_code == 302
    made.refresh_from_db()
    assert (made.user, made.limit, made.is_soft) == (owner, 70, True)
    assert boss.post(page("quota", "delete", made.pk), {"post": "yes"}).status_code == 302
    assert not Quota.objects.exists()
    events = AuditEvent.objects.filter(action__startswith="quota.").order_by("pk")
    assert [(event.action, event.actor) for event in events] == [
        ("quota.set", root), ("quota.changed", root), ("quota.deleted", root),
    ]  # fmt: skip


def test_what_is_wrong_is_said_at_the_field(boss: Client, owner: User):
    for fields, name in (
        ({"limit": -1}, "limit"),
        ({"limit": 10**13}, "limit"),
        ({"window": ""}, "window"),
        ({"metric": "concurrency"}, "window"),
        ({"input_weight": -1}, "input_weight"),
    ):
        answer = boss.post(page("quota", "add"), form(**{"user": owner.pk, **fields}))
        assert name in answer.context["adminform"].form.errors, fields
    do_set_quota(metric="tokens", window="day", limit=5, user=owner, acting_user=None)
    answer = boss.post(page("quota", "add"), form(user=owner.pk))
    assert "already" in str(answer.context["adminform"].form.errors)
    assert Quota.objects.get().limit == 5


def test_a_boost_is_given_and_stays(boss: Client, root: User, owner: User):
    made = do_set_quota(metric="tokens", window="day", limit=100, user=owner, acting_user=None)
    ends = timezone.now() + timedelta(days=1)
    boost = {
        "boosts-TOTAL_FORMS": 1, "boosts-INITIAL_FORMS": 0, "boosts-0-quota": made.pk, "boosts-0-amount": 50,
        "boosts-0-starts_at_0": "2026-01-01", "boosts-0-starts_at_1": "00:00", "boosts-0-note": "demo",
        "boosts-0-ends_at_0": f"{ends:%Y-%m-%d}", "boosts-0-ends_at_1": f"{ends:%H:%M}",
    }  # fmt: skip
    assert boss.post(page("quota", "change", made.pk), form(**boost)).status_code == 302
    assert QuotaBoost.objects.get().amount == 50
    assert AuditEvent.objects.get(action="quota.boosted").actor == root
    assert "150 tokens a day" in boss.get(page("quota", "changelist")).content.decode()


def test_the_bar_says_how_much_is_used(boss: Client, principal: Principal, owner: User):
    made = do_set_quota(metric="tokens", window="day", limit=100, user=owner, acting_user=None)
    do_set_quota(metric="concurrency", limit=3, user=owner, acting_user=None)
    do_set_quota(metric="tokens", window="hour", limit=0, user=owner, acting_user=None)
    open_one(principal)
    ledger.settle("req-1", **{**FIGURES, "prompt_tokens": 80, "completion_tokens": 5})
    listing = boss.get(page("quota", "changelist")).content.decode()
    assert "85 %" in listing and "width:85%" in listing and "user olga" in listing
    ledger_before = str(made)
    open_one(principal, "req-2")
    ledger.settle("req-2", **{**FIGURES, "prompt_tokens": 80, "completion_tokens": 5})
    assert "170 %" in boss.get(page("quota", "changelist")).content.decode()
    assert str(Quota.objects.get(pk=made.pk)) == ledger_before
