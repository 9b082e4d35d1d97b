import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from accounts import ledger
from accounts.authentication import Principal
from accounts.models import Team, UsageRecord, User
from accounts.services import do_delete_user

FIGURES: dict[str, Any] = {
    "outcome": "stop",
    "prompt_tokens": 12,
    "cached_tokens": 8,
    "completion_tokens": 5,
    "queue_ms": 1.5,
    "ttft_ms": 30.0,
    "duration_ms": 200.0,
    "engine_seconds": 0.19,
}


def open_one(principal: Principal, request_id: str = "req-1", gateway: str = "gateway-1") -> UsageRecord:
    ledger.open_record(
        request_id=request_id,
        principal=principal,
        model="atelier-tiny",
        endpoint="chat.completions",
        stream=True,
        gateway=gateway,
        estimated_prompt_tokens=10,
    )
    return UsageRecord.objects.get(request_id=request_id)


def test_opening_says_who_and_what(principal: Principal):
    row = open_one(principal)
    assert row.is_running()
    assert (row.key_id, row.user_id, row.team_id) == (principal.key_id, principal.user_id, principal.team_id)
    assert (row.username, row.key_prefix) == (principal.username, principal.key_prefix)
    assert (row.model, row.endpoint, row.stream, row.gateway) == ("atelier-tiny", "chat.completions", True, "gateway-1")
    assert (row.estimated_prompt_tokens, row.total_tokens(), row.ended_at) == (10, 0, None)


def test_a_request_id_is_taken_once(principal: Principal):
    open_one(principal)
    with pytest.raises(IntegrityError), transaction.atomic():
        open_one(principal)


def test_settling_writes_the_figures_once(principal: Principal):
    open_one(principal)
    assert ledger.settle("req-1", **FIGURES)
    assert not ledger.settle("req-1", **{**FIGURES, "completion_tokens": 99})
    assert not ledger.interrupt("req-1")
    row = UsageRecord.objects.get()
    assert row.state == "settled"
    assert {name: getattr(row, name) for name in FIGURES} == FIGURES
    assert row.total_tokens() == 17
    assert row.ended_at is not None
    assert row.ended_at >= row.started_at


def test_settling_what_was_never_opened_is_false(db: None):
    assert not ledger.settle("req-none", **FIGURES)


def test_an_unknown_outcome_is_refused(principal: Principal):
    open_one(principal)
    with pytest.raises(ValueError, match="exploded"):
        ledger.settle("req-1", **{**FIGURES, "outcome": "exploded"})
    assert UsageRecord.objects.get().is_running()


@pytest.mark.django_db(transaction=True)
def test_of_many_threads_one_settles(principal: Principal):
    open_one(principal)
    together = threading.Barrier(8)

    def settle(tokens: int) -> int | None:
        try:
            together.wait(timeout=60)
            return tokens if ledger.settle("req-1", **{**FIGURES, "completion_tokens": tokens}) else None
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        winners = [tokens for tokens in pool.map(settle, range(8)) if tokens is not None]
    assert len(winners) == 1
    assert UsageRecord.objects.get().completion_tokens == winners[0]


def test_a_gateway_finds_what_its_former_life_left(principal: Principal):
    for request_id in ("req-1", "req-2", "req-3"):
        open_one(principal, request_id)
    open_one(principal, "req-4", gateway="gateway-2")
    ledger.settle("req-2", **FIGURES)
    left = ledger.running_of("gateway-1")
    assert [record.request_id for record in left] == ["req-1", "req-3"]
    assert {(each.model, each.key_id, each.user_id, each.team_id) for each in left} == {
        ("atelier-tiny", principal.key_id, principal.user_id, principal.team_id)
    }


def test_an_interrupted_row_keeps_what_is_known(principal: Principal):
    open_one(principal)
    assert ledger.interrupt("req-1", prompt_tokens=12, completion_tokens=3)
    assert not ledger.settle("req-1", **FIGURES)
    row = UsageRecord.objects.get()
    assert (row.state, row.outcome) == ("interrupted", "interrupted")
    assert (row.prompt_tokens, row.completion_tokens) == (12, 3)
    assert row.duration_ms is None
    assert ledger.running_of("gateway-1") == []


@pytest.mark.parametrize(
    "impossible",
    [
        {"cached_tokens": 13},
        {"completion_tokens": -1},
        {"queue_ms": -1.0},
        {"ttft_ms": -0.1},
        {"duration_ms": -5.0},
        {"engine_seconds": -0.1},
    ],
)
def test_impossible_figures_are_refused(principal: Principal, impossible: dict[str, float]):
    open_one(principal)
    with pytest.raises(IntegrityError), transaction.atomic():
        ledger.settle("req-1", **{**FIGURES, **impossible})
    assert UsageRecord.objects.get().is_running()


@pytest.mark.parametrize(
    "contradiction",
    [
        {"state": "settled"},
        {"state": "settled", "outcome": "stop"},
        {"state": "settled", "outcome": "exploded", "ended_at": timezone.now()},
        {"state": "interrupted", "outcome": "stop", "ended_at": timezone.now()},
        {"outcome": "stop"},
        {"state": "paused"},
    ],
)
def test_state_outcome_and_end_have_to_agree(principal: Principal, contradiction: dict[str, Any]):
    open_one(principal)
    with pytest.raises(IntegrityError), transaction.atomic():
        UsageRecord.objects.update(**contradiction)


def test_history_outlives_its_user(principal: Principal, owner: User):
    open_one(principal)
    ledger.settle("req-1", **FIGURES)
    do_delete_user(owner, acting_user=None)
    row = UsageRecord.objects.get()
    assert (row.user, row.key) == (None, None)
    assert (row.username, row.key_prefix) == ("olga", principal.key_prefix)
    assert row.total_tokens() == 17


def test_a_team_with_usage_stays(principal: Principal, team: Team):
    open_one(principal)
    with pytest.raises(ProtectedError):
        team.delete()


def test_running_rows_are_found_by_their_own_index(principal: Principal):
    open_one(principal)
    rows = UsageRecord.objects.filter(gateway="gateway-1", state="running")
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:  # for a table of one row it would rather read the table
            cursor.execute("SET LOCAL enable_seqscan = off")
    assert "usage_running" in rows.explain()
