import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts import ledger
from accounts.authentication import Principal
from accounts.models import ApiKey, AuditEvent, Team, UsageRecord, User
from accounts.services import IssuedKey, do_issue_key
from tests.accounts.admin_pages import MODELS, open_record, page, signed_in, staff


@pytest.mark.parametrize("model", MODELS)
def test_anonymous_and_users_are_sent_to_sign_in(client: Client, owner: User, model: str):
    for visitor in (client, signed_in(owner)):
        answer = visitor.get(page(model, "changelist"))
        assert answer.status_code == 302
        assert answer["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("model", MODELS)
def test_staff_without_permission_see_nothing(db: None, model: str):
    assert signed_in(staff()).get(page(model, "changelist")).status_code == 403


def test_who_may_see_keys_may_not_make_or_revoke_them(issued: IssuedKey):
    viewer = signed_in(staff("view_apikey"))
    assert viewer.get(page("apikey", "changelist")).status_code == 200
    assert viewer.get(page("apikey", "add")).status_code == 403
    assert viewer.post(page("apikey", "add"), {"user": issued.row.user_id}).status_code == 403
    viewer.post(page("apikey", "changelist"), {"action": "revoke", "_selected_action": [issued.row.pk]})
    assert ApiKey.objects.get().is_live()


def test_who_may_change_keys_may_revoke_them(issued: IssuedKey):
    changer = signed_in(staff("view_apikey", "change_apikey"))
    changer.post(page("apikey", "changelist"), {"action": "revoke", "_selected_action": [issued.row.pk]})
    assert not ApiKey.objects.get().is_live()


# --- Every page opens


@pytest.mark.parametrize("model", MODELS)
def test_lists_and_searches_open(boss: Client, record: UsageRecord, model: str):
    for query in ("", "?q=olga", "?o=1"):
        assert boss.get(page(model, "changelist") + query).status_code == 200


def test_details_open(boss: Client, record: UsageRecord, team: Team, owner: User, issued: IssuedKey):
    event = AuditEvent.objects.filter(action="key.issued").get()
    for model, thing in {
        "user": owner,
        "team": team,
        "apikey": issued.row,
        "usagerecord": record,
        "auditevent": event,
    }.items():
        assert boss.get(page(model, "change", thing.pk)).status_code == 200, model


@pytest.mark.parametrize("model", ["usagerecord", "auditevent"])
def test_what_is_written_elsewhere_is_only_read(boss: Client, record: UsageRecord, model: str):
    thing = record if model == "usagerecord" else AuditEvent.objects.latest("pk")
    before = type(thing).objects.values().get(pk=thing.pk)
    assert boss.get(page(model, "add")).status_code == 403
    assert boss.post(page(model, "delete", thing.pk), {"post": "yes"}).status_code == 403
    boss.post(page(model, "change", thing.pk), {"state": "settled", "action": "nothing"})
    boss.post(page(model, "changelist"), {"action": "delete_selected", "_selected_action": [thing.pk], "post": "yes"})
    assert type(thing).objects.values().get(pk=thing.pk) == before


def test_a_longer_ledger_costs_no_more_queries(boss: Client, principal: Principal, owner: User):
    def queries(model: str) -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert boss.get(page(model, "changelist")).status_code == 200
        return len(captured)

    for model, add in {
        "usagerecord": lambda number: open_record(principal, f"req-{number}"),
        "apikey": lambda number: do_issue_key(owner, note=str(number), acting_user=None),
    }.items():
        add(0)
        few = queries(model)
        for number in range(1, 10):
            add(number)
        assert queries(model) == few, model


def test_the_ledger_is_not_counted(boss: Client, record: UsageRecord):
    with CaptureQueriesContext(connection) as captured:
        boss.get(page("usagerecord", "changelist"))
    assert not [query["sql"] for query in captured if "COUNT(" in query["sql"]]


def test_the_ledger_filters(boss: Client, principal: Principal, owner: User):
    open_record(principal, "req-open")
    open_record(principal, "req-shut")
    ledger.interrupt("req-shut")
    listing = page("usagerecord", "changelist")
    for query in ("state__exact=running", "q=req-open"):
        shown = boss.get(f"{listing}?{query}").context["cl"].result_list
        assert [record.request_id for record in shown] == ["req-open"], query
    assert len(boss.get(f"{listing}?user__id__exact={owner.pk}").context["cl"].result_list) == 2
