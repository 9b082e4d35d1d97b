"""Two people on one page: who saves second is told, and overwrites nothing that they did not see."""

import threading
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from accounts.models import Announcement, AuditEvent, Maintenance, Membership, Quota, Team, User
from accounts.notices import do_announce, do_set_maintenance
from accounts.quotas.verbs import do_change_quota, do_set_quota
from accounts.services import do_change_role, do_change_team, do_change_user, do_create_user
from tests.accounts.admin_pages import page, signed_in
from tests.accounts.test_admin_quotas import NO_BOOSTS, form


def opened(client: Client, url: str) -> dict[str, Any]:
    """What a browser would post of this page when nothing was touched, the hidden field included."""
    context = client.get(url).context
    own = context["adminform"].form
    data = {field.html_name: field.value() for field in own if field.value() not in (None, False)}
    for field in own:
        if hasattr(field.field.widget, "decompress"):
            value = field.field.widget.decompress(data.pop(field.html_name, None))
            data |= {f"{field.html_name}_{place}": part or "" for place, part in enumerate(value)}
    return {**data, "_seen": context["seen"]}


def errors_of(answer: Any) -> str:
    assert answer.status_code == 200, "it was saved"
    return str(answer.context["adminform"].form.non_field_errors())


def test_a_quota_that_somebody_else_has_changed(boss: Client, root: User, owner: User):
    made = do_set_quota(metric="tokens", window="day", limit=100, user=owner, acting_user=None)
    url = page("quota", "change", made.pk)
    mine = {**opened(boss, url), **NO_BOOSTS, "warn_percent": 50}
    rita = do_create_user("rita", password=None, is_admin=True, acting_user=None)
    do_change_quota(made, limit=700, acting_user=rita)
    answer = boss.post(url, mine)
    said = errors_of(answer)
    assert "rita has changed this" in said and "“700”" in said and "Limit" in said
    made.refresh_from_db()
    assert (made.limit, made.warn_percent) == (700, 80)
    # Whoever has read that and saves again means it.
    again = {**mine, "_seen": answer.context["seen"]}
    assert boss.post(url, again).status_code == 302
    made.refresh_from_db()
    assert (made.limit, made.warn_percent) == (100, 50)
    last = AuditEvent.objects.filter(action="quota.changed").first()
    assert last is not None and (last.actor, last.before["limit"], last.after["limit"]) == (root, 700, 100)


def test_what_nobody_else_has_touched_is_saved(boss: Client, owner: User):
    made = do_set_quota(metric="tokens", window="day", limit=100, user=owner, acting_user=None)
    url = page("quota", "change", made.pk)
    assert boss.post(url, {**opened(boss, url), **NO_BOOSTS, "limit": 5}).status_code == 302
    made.refresh_from_db()
    assert made.limit == 5


def test_a_user(boss: Client, owner: User):
    url = page("user", "change", owner.pk)
    mine = {**opened(boss, url), "first_name": "Olga"}
    # Signing in is no change of what the page shows to edit.
    User.objects.filter(pk=owner.pk).update(last_login=timezone.now())
    assert boss.post(url, mine).status_code == 302
    mine = {**opened(boss, url), "first_name": "Helga"}
    do_change_user(owner, email="o@example.org", is_active=False, acting_user=None)
    said = errors_of(boss.post(url, mine))
    assert "The command line has changed this" in said and "o@example.org" in said and "Active" in said
    owner.refresh_from_db()
    assert (owner.first_name, owner.is_active) == ("Olga", False)


def test_a_team_and_its_members(boss: Client, team: Team, owner: User):
    url = page("team", "change", team.pk)
    rows = {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}
    mine = {**opened(boss, url), **rows, "name": "Sight"}
    do_change_role(Membership.objects.get(), "viewer", acting_user=None)
    assert "members olga (viewer)" in errors_of(boss.post(url, mine))
    mine = {**opened(boss, url), **rows, "name": "Sight"}
    do_change_team(team, time_zone="Asia/Tokyo", acting_user=None)
    assert "Asia/Tokyo" in errors_of(boss.post(url, mine))
    team.refresh_from_db()
    assert (team.name, team.time_zone) == ("Vision", "Asia/Tokyo")
    assert boss.post(url, {**opened(boss, url), **rows, "name": "Sight"}).status_code == 302


def test_an_announcement_and_maintenance(boss: Client, db: None):
    made = do_announce("Tea at four", acting_user=None)
    url = page("announcement", "change", made.pk)
    mine = {**opened(boss, url), "text": "Tea at six"}
    Announcement.objects.update(text="Tea at five")
    assert "“Tea at five”" in errors_of(boss.post(url, mine))
    url = page("maintenance", "change", Maintenance.ONLY)
    mine = {**opened(boss, url), "is_on": "on"}
    do_set_maintenance(is_on=True, message="New disks", acting_user=None)
    assert "New disks" in errors_of(boss.post(url, mine))


@pytest.mark.parametrize(
    "seen", ["", "null", "[]", "{", '{"limit": 7, "no": {}}', "\x00", "9" * 5000, '{"limit": null}']
)
def test_rubbish_in_the_hidden_field(boss: Client, owner: User, seen: str):
    made = do_set_quota(metric="tokens", window="day", limit=100, user=owner, acting_user=None)
    answer = boss.post(page("quota", "change", made.pk), form(limit=5, _seen=seen))
    assert answer.status_code in (200, 302)


@pytest.mark.django_db(transaction=True)
def test_two_who_create_the_same_at_the_same_moment():
    """One is created; the other gets the page with an error, whichever database decides it."""
    root = do_create_user("root", password=None, is_admin=True, acting_user=None)
    owner = do_create_user("olga", password=None, acting_user=None)
    clients = [signed_in(root) for _ in range(4)]
    answers: list[tuple[int, str]] = []
    begin = threading.Barrier(len(clients))

    def add(client: Client) -> None:
        begin.wait()
        answer = client.post(page("quota", "add"), form(user=owner.pk))
        said = "" if answer.status_code != 200 else str(answer.context["adminform"].form.errors)
        answers.append((answer.status_code, said))
        connections.close_all()

    threads = [threading.Thread(target=add, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(status for status, _ in answers) == [200, 200, 200, 302]
    assert all("already; change that one" in said for status, said in answers if status == 200)
    assert Quota.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_who_save_at_the_same_moment():
    root = do_create_user("root", password=None, is_admin=True, acting_user=None)
    owner = do_create_user("olga", password=None, acting_user=None)
    made = do_set_quota(metric="tokens", window="day", limit=100, user=owner, acting_user=None)
    url = page("quota", "change", made.pk)
    clients = [signed_in(root) for _ in range(3)]
    forms = [{**opened(client, url), **NO_BOOSTS, "limit": 10 + number} for number, client in enumerate(clients)]
    statuses: list[int] = []
    begin = threading.Barrier(len(clients))

    def save(client: Client, data: dict[str, Any]) -> None:
        begin.wait()
        statuses.append(client.post(url, data).status_code)
        connections.close_all()

    threads = [threading.Thread(target=save, args=each) for each in zip(clients, forms, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 200, 302]
    assert AuditEvent.objects.filter(action="quota.changed").count() == 1
