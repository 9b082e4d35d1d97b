"""`usage` and `audit`: what the commands say of the ledger and of the log."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts import ledger
from accounts.authentication import Principal
from accounts.models import Team, UsageRecord, User
from accounts.services import IssuedKey, do_delete_user, do_revoke_key
from accounts.usage import used
from tests.accounts.test_commands import refused, run
from tests.accounts.test_ledger import FIGURES, open_one


def record(principal: Principal, id: str, *, days: float = 0, model: str = "tiny", **figures: Any) -> None:
    open_one(principal, id)
    ledger.settle(id, **{**FIGURES, **figures})
    UsageRecord.objects.filter(request_id=id).update(model=model, started_at=timezone.now() - timedelta(days=days))


@pytest.fixture
def records(principal: Principal) -> None:
    record(principal, "a", prompt_tokens=100, completion_tokens=10)
    record(principal, "b", prompt_tokens=50, completion_tokens=5, model="large", days=3)
    record(principal, "c", prompt_tokens=9, completion_tokens=0, outcome="refused")
    record(principal, "old", prompt_tokens=7000, days=400)
    open_one(principal, "running")


def test_sums(records: None, principal: Principal):
    [all_of_it] = used(start=None, end=None)
    assert (all_of_it.requests, all_of_it.prompt_tokens, all_of_it.of) == (3, 7159, {})
    now = timezone.now()
    by_model = used(start=now - timedelta(days=30), end=None, by=["model"])
    assert [(row.of, row.requests, row.total_tokens) for row in by_model] == [
        ({"model": "tiny"}, 1, 119), ({"model": "large"}, 1, 55),
    ]  # fmt: skip
    before = used(start=None, end=now - timedelta(days=2), by=["user", "team", "key", "endpoint"])
    assert [row.of for row in before] == [
        {"user": "olga", "team": "vision", "key": principal.key_prefix, "endpoint": "chat.completions"}
    ]
    assert used(start=now, end=now, by=["user"]) == []


def test_the_command(records: None, owner: User):
    rows = json.loads(run("usage", "--json"))
    assert [(row["user"], row["requests"], row["prompt_tokens"]) for row in rows] == [("olga", 2, 159)]
    shown = run("usage", "--by", "model, team", "--days", "0")
    assert "7,109" in shown and "vision" in shown and "large" in shown
    assert json.loads(run("usage", "--json", "--model", "large"))[0]["completion_tokens"] == 5
    assert json.loads(run("usage", "--json", "--team", "Vision", "--user", "olga"))[0]["requests"] == 2
    assert json.loads(run("usage", "--json", "--user", "sten")) == []
    do_delete_user(owner, acting_user=None)
    assert json.loads(run("usage", "--json", "--user", "olga"))[0]["requests"] == 2, "history stays"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("--by", "colour"), "--by: colour"), (("--days", "-1"), "--days: "), (("--days", "nan"), "--days: "),
     (("--team", "nobody"), "--team: ")],
)  # fmt: skip
def test_the_command_names_the_argument(db: None, arguments: tuple[str, ...], says: str):
    assert refused("usage", *arguments).startswith(says)


def test_the_log(issued: IssuedKey, root: User):
    do_revoke_key(issued.row, acting_user=root)
    [event] = json.loads(run("audit", "--last", "1", "--json"))
    assert (event["actor"], event["action"]) == ("root", "key.revoked")
    assert event["target"].startswith("apikey sk-atelier-") and event["after"]["revoked_at"]
    assert {row["action"] for row in json.loads(run("audit", "--action", "key", "--json"))} == {
        "key.issued", "key.revoked",
    }  # fmt: skip
    assert len(json.loads(run("audit", "--actor", "root", "--json"))) == 1
    assert len(json.loads(run("audit", "--action", "key.issued", "--json"))) == 1
    assert "key.revoked" in run("audit")
    assert issued.raw not in run("audit", "--json")
    assert refused("audit", "--last", "0").startswith("--last: ")


def test_createteam(db: None):
    assert run("createteam", "Vision", "--time-zone", "Asia/Tokyo") == "Created team Vision.\n"
    assert Team.objects.get().time_zone == "Asia/Tokyo"
    assert refused("createteam", "Vision").startswith("NAME: ")
    assert refused("createteam", "Sight", "--time-zone", "Mars").startswith("--time-zone: ")
