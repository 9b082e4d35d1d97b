"""Quotas in the management API: one's own to see, all of them for platform admins, to set and to try out."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import AuditEvent, Quota, Team, User
from accounts.quotas.verbs import do_boost_quota, do_set_quota
from accounts.services import IssuedKey, do_add_member, do_create_team, do_issue_key
from tests.accounts.managing import Ask, by_key, managing_key
from tests.accounts.test_what_if import used


def put(**fields: Any) -> Quota:
    return do_set_quota(**{"metric": "tokens", "window": "day", "limit": 1000, "acting_user": None, **fields})


def test_everybody_sees_those_that_hold_for_them(olga: Ask, boss_key: Ask, mia: User, team: Team, stranger: User):
    other = do_create_team("Speech", acting_user=None)
    do_add_member(other, stranger, acting_user=None)
    hers, theirs = do_issue_key(mia, acting_user=None).row, do_issue_key(stranger, acting_user=None).row
    everybody = put()
    of_team, of_mia, of_key = put(team=team), put(user=mia, model="tiny"), put(key=hers)
    put(team=team, user=User.objects.get(username="olga"))
    hidden = [put(team=other), put(user=stranger), put(key=theirs), put(team=other, user=stranger)]
    put(user=mia, window="week", is_active=False)
    as_mia = by_key(managing_key(mia))
    listed = as_mia("GET", "quotas/").json()["results"]
    assert [quota["id"] for quota in listed] == [of_key.pk, of_mia.pk, of_team.pk, everybody.pk]
    for quota in hidden:
        answer = as_mia("GET", f"quotas/{quota.pk}")
        assert answer.status_code == 404 and answer.json() == as_mia("GET", "quotas/999999").json()
    assert len(boss_key("GET", "quotas/").json()["results"]) == Quota.objects.count()


def test_what_is_used_of_it(olga: Ask, owner: User, issued: IssuedKey):
    quota = put(user=owner)
    do_boost_quota(quota, amount=500, ends_at=timezone.now() + timedelta(hours=1), acting_user=None)
    used(issued, timezone.now())
    [shown] = olga("GET", "quotas/").json()["results"]
    assert (shown["limit"], shown["limit_now"], shown["used"], shown["user"], shown["team"]) == (
        1000, 1500, 100.0, "olga", None,
    )  # fmt: skip
    assert shown["resets_at"] > timezone.now().isoformat()
    assert [boost["amount"] for boost in shown["boosts"]] == [500]
    assert olga("GET", f"quotas/{quota.pk}").json() == shown


def test_requests_at_once(olga: Ask, issued: IssuedKey, record: Any):
    put(metric="concurrency", window="", limit=3)
    [shown] = olga("GET", "quotas/").json()["results"]
    assert (shown["used"], shown["resets_at"], shown["window"]) == (1, None, "")


def test_only_platform_admins_set_them(olga: Ask, team: Team):
    quota = put(team=team)
    asked = [
        ("POST", "quotas/", {"metric": "tokens", "window": "day", "limit": 5}),
        ("PATCH", f"quotas/{quota.pk}", {"limit": 10**9}),
        ("DELETE", f"quotas/{quota.pk}", None),
        ("POST", f"quotas/{quota.pk}/boosts", {"amount": 5, "ends_at": "2090-01-01T00:00:00Z"}),
        ("POST", "quotas/what-if", {"metric": "tokens", "window": "day", "limit": 5}),
        ("PATCH", "quotas/999999", {"limit": 10**9}),
    ]
    for method, path, body in asked:
        answer = olga(method, path, body)
        assert answer.status_code == 403 and "quotas.set" in answer.json()["detail"]
    quota.refresh_from_db()
    assert quota.limit == 1000 and not quota.boosts.exists()


def test_setting_changing_and_removing_one(boss_key: Ask, team: Team, root: User):
    body = {"team": "vision", "metric": "tokens", "window": "day", "limit": 5000, "input_weight": "0.5"}
    made = boss_key("POST", "quotas/", body).json()
    assert (made["team"], made["limit"], made["input_weight"]) == ("vision", 5000, 0.5)
    again = boss_key("POST", "quotas/", {**body, "limit": 6000}).json()
    assert (again["id"], again["limit"]) == (made["id"], 6000)
    changed = boss_key("PATCH", f"quotas/{made['id']}", {"is_soft": True, "warn_percent": 50}).json()
    assert (changed["is_soft"], changed["warn_percent"], changed["limit"]) == (True, 50, 6000)
    ends = (timezone.now() + timedelta(hours=1)).isoformat()
    boost = boss_key("POST", f"quotas/{made['id']}/boosts", {"amount": 100, "ends_at": ends, "note": "demo"})
    assert boost.status_code == 201 and boost.json()["note"] == "demo"
    assert boss_key("GET", f"quotas/{made['id']}").json()["limit_now"] == 6100
    assert boss_key("DELETE", f"quotas/{made['id']}").status_code == 204
    assert boss_key("DELETE", f"quotas/{made['id']}").status_code == 404
    acts = AuditEvent.objects.filter(action__startswith="quota.").order_by("pk")
    assert [(event.action, event.actor, event.team) for event in acts] == [
        (action, root, team)
        for action in ("quota.set", "quota.changed", "quota.changed", "quota.boosted", "quota.deleted")
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"limit": -1}, "limit"),
        ({"limit": 10**13}, "limit"),
        ({"limit": 10**400}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"limit": None}, "limit"),
        ({"metric": "bytes"}, "metric"),
        ({"metric": None}, "metric"),
        ({"window": "fortnight"}, "window"),
        ({"window": ""}, "window"),
        ({"metric": "concurrency"}, "window"),
        ({"team": "nowhere"}, "team"),
        ({"team": "a\0"}, "team"),
        ({"user": "nobody"}, "user"),
        ({"user": "sten", "team": "vision"}, "user"),
        ({"key": 999999}, "key"),
        ({"key": 2**63}, "key"),
        ({"key": "sk-atelier-x"}, "key"),
        ({"model": "x" * 201}, "model"),
        ({"model": "a\0b"}, "model"),
        ({"input_weight": -1}, "input_weight"),
        ({"input_weight": "NaN"}, "input_weight"),
        ({"input_weight": 1001}, "input_weight"),
        ({"input_weight": "0.00001"}, "input_weight"),
        ({"weight": 1}, "weight"),
    ],
)
@pytest.mark.parametrize("path", ["quotas/", "quotas/what-if"])
def test_quotas_that_can_not_be(boss_key: Ask, team: Team, stranger: User, path: str, body: dict[str, Any], field: str):
    answer = boss_key("POST", path, {"metric": "tokens", "window": "day", "limit": 5, **body})
    assert (answer.status_code, [*answer.json()]) == (400, [field])
    assert not Quota.objects.exists()


@pytest.mark.parametrize("days", [0, -1, 367, "x", None])
def test_how_far_what_if_looks_back(boss_key: Ask, days: Any):
    answer = boss_key("POST", "quotas/what-if", {"metric": "tokens", "window": "day", "limit": 5, "days": days})
    assert (answer.status_code, [*answer.json()]) == (400, ["days"])


def test_boosts_that_can_not_be(boss_key: Ask):
    quota = put()
    for body, field in (
        ({"amount": 0, "ends_at": "2090-01-01T00:00:00Z"}, "amount"),
        ({"amount": 1, "ends_at": "2020-01-01T00:00:00Z"}, "ends_at"),
        ({"amount": 1}, "ends_at"),
        ({"amount": 1, "ends_at": "2090-01-01T00:00:00Z", "note": "a\0"}, "note"),
    ):
        answer = boss_key("POST", f"quotas/{quota.pk}/boosts", body)
        assert (answer.status_code, [*answer.json()]) == (400, [field])


def test_trying_one_out(boss_key: Ask, issued: IssuedKey):
    for _ in range(3):
        used(issued, timezone.now() - timedelta(minutes=5))
    put(team=issued.row.team)
    body = {"team": "vision", "metric": "tokens", "window": "total", "limit": 150, "days": 1}
    answer = boss_key("POST", "quotas/what-if", body)
    assert answer.status_code == 200
    found = answer.json()
    assert (found["unit"], found["subject"], found["is_whole"]) == ("tokens in total", "team Vision", True)
    assert (found["requests"], found["windows"], found["exceeded"]) == (3, 1, 1)
    assert found["over"] == {"requests": 1, "amount": 150.0}
    assert found["users"] == [{"username": "olga", "requests": 1, "amount": 150.0}]
    assert found["worst"] == [{"start": None, "end": None, "used": 300.0, "over": found["over"]}]
    assert Quota.objects.get().limit == 1000, "nothing has changed"
