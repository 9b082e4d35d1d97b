"""Prices: exact, for the time to come, and what was used keeps its own."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db.models import ProtectedError
from django.test import Client
from django.utils import timezone

from accounts.authentication import Principal
from accounts.models import AuditEvent, Price, UsageDaily, User
from accounts.prices import do_set_price, do_withdraw_price, price_at
from accounts.rollups import roll_up
from accounts.usage import used
from tests.accounts.admin_pages import page, signed_in, staff
from tests.accounts.ledger_made import ended
from tests.accounts.test_commands import refused, run

THEN = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def cost(**asked: Any) -> Decimal | None:
    [sums] = used(**{"start": None, "end": None, **asked})
    return sums.cost


def test_the_price_when_it_began(principal: Principal):
    Price.objects.create(model="tiny", input="0.3", cached="0.03", output="1.2", gpu_hour="3.6", valid_from=THEN)
    Price.objects.create(model="tiny", input=1000, cached=1000, output=1000, valid_from=THEN + HOUR)
    figures: dict[str, Any] = {
        "prompt_tokens": 1_000_001, "cached_tokens": 1, "completion_tokens": 500_000, "engine_seconds": 2.5,
    }  # fmt: skip
    ended(principal, THEN - timedelta(microseconds=1), **figures)
    assert cost() is None, "nobody had set one"
    ended(principal, THEN, ended_at=THEN + 2 * HOUR, **figures)
    before = cost()
    assert before == Decimal("0.3") + Decimal("0.6") + Decimal("0.0025")
    ended(principal, THEN + HOUR, **figures)
    assert cost() == before + Decimal("1500.001000")
    roll_up()
    assert cost() == before + Decimal("1500.001000")
    assert cost(start=THEN - HOUR, end=THEN + HOUR) == before
    ended(principal, THEN, model="free", **figures)
    assert cost() == before + Decimal("1500.001000"), "what has no price costs nothing beside what has"
    with pytest.raises(ProtectedError):
        Price.objects.all().delete()


def test_no_sum_of_small_costs_loses_anything(principal: Principal):
    """A float would."""
    Price.objects.create(model="tiny", input="0.1", cached="0.1", output="0.1", valid_from=THEN)
    for number in range(30):
        ended(
            principal, THEN + number * timedelta(hours=7), prompt_tokens=333_333, cached_tokens=0, completion_tokens=0
        )
        if number == 11:
            roll_up()
    assert cost() == Decimal("0.999999")


def test_what_was_used_keeps_its_price(principal: Principal, root: User):
    Price.objects.create(model="tiny", input=1, cached=1, output=1, valid_from=THEN)
    ended(principal, timezone.now())
    before = cost()
    made = do_set_price("tiny", input=Decimal(50), acting_user=root)
    assert timezone.now() < made.valid_from <= timezone.now() + timedelta(minutes=1) and made.valid_from.second == 0
    assert made.cached == 50, "as input, unless it says otherwise"
    roll_up()
    assert cost() == before
    assert UsageDaily.objects.get().price != made
    event = AuditEvent.objects.get(action="price.set")
    assert (event.actor, event.before["input"], event.after["input"]) == (root, "1", "5E+1")
    for moment in (THEN, timezone.now() - HOUR, timezone.now()):
        with pytest.raises(ValidationError, match="keeps its price"):
            do_set_price("tiny", input=Decimal(0), valid_from=moment, acting_user=root)
    with pytest.raises(ValidationError, match="holds already"):
        do_withdraw_price(price_at("tiny", timezone.now()) or made, acting_user=root)
    do_withdraw_price(made, acting_user=root)
    assert Price.objects.count() == 1 and AuditEvent.objects.filter(action="price.withdrawn").count() == 1


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"input": Decimal(-1)}, "input"),
        ({"output": Decimal("nan")}, "output"),
        ({"output": Decimal("infinity")}, "output"),
        ({"gpu_hour": Decimal("1e300")}, "gpu_hour"),
        ({"gpu_hour": Decimal(1_000_001)}, "gpu_hour"),
        ({"cached": Decimal("0.0000001")}, "cached"),
        ({"model": ""}, "model"),
        ({"model": "a\0b"}, "model"),
        ({"model": "a\nb"}, "model"),
        ({"model": "m" * 201}, "model"),
        ({"valid_from": datetime(9999, 1, 1, tzinfo=UTC)}, "valid_from"),
    ],
)
def test_prices_that_can_not_be(db: None, fields: dict[str, Any], name: str):
    with pytest.raises(ValidationError) as refusal:
        do_set_price(**{"model": "tiny", **fields, "acting_user": None})
    assert name in refusal.value.message_dict
    assert not Price.objects.exists() and not AuditEvent.objects.exists()


def test_largest_and_smallest_come_back_as_they_went(db: None):
    for model, value in (("dear", "1000000"), ("cheap", "0.000001"), ("odd", "999999.999999")):
        do_set_price(model, input=Decimal(value), acting_user=None)
        assert Price.objects.get(model=model).input == Decimal(value)


def test_the_command(db: None):
    assert run("setprice", "tiny", "--input", "0.50", "--output", "1.5").endswith(
        "0.5 a million prompt tokens, 0.5 a million of them from the cache, 1.5 a million tokens of answers, in USD.\n"
    )
    assert "tiny" in run("setprice") and "1.5" in run("setprice")
    later = ("--from", "2035-01-01T00:00")
    assert "free" in run("setprice", "tiny", "--gpu-hour", "0", *later)
    assert refused("setprice", "tiny", "--input", "3", *later).startswith("--from: tiny has a price")
    assert run("setprice", "tiny", *later, "--withdraw").startswith("Withdrew")
    assert Price.objects.count() == 1
    for arguments, says in {
        ("tiny",): "Give at least one of --input",
        ("tiny", "--input", "free"): "--input: 'free' is no price",
        ("tiny", "--input", "nan"): "--input: ",
        ("tiny", "--input", "-1"): "--input: ",
        ("tiny", "--input", "1", "--from", "soon"): "--from: ",
        ("tiny", "--input", "1", "--from", "2020-01-01T00:00"): "--from: ",
        ("tiny", "--input", "1", "--from", "2020-13-01T00:00"): "--from: ",
        ("\n", "--input", "1"): "MODEL: ",
        ("tiny", "--withdraw", "--from", "2035-01-01T00:00"): "--withdraw: ",
        ("tiny", "--withdraw"): "--withdraw: ",
    }.items():
        assert refused("setprice", *arguments).startswith(says), arguments


def test_the_admin(boss: Client, root: User):
    form = {
        "model": "tiny",
        "input": "0.25",
        "cached": "",
        "output": "1",
        "gpu_hour": "0",
        "valid_from_0": "",
        "valid_from_1": "",
    }
    assert boss.post(page("price", "add"), form).status_code == 302
    made = Price.objects.get()
    assert (made.input, made.cached, made.output) == (Decimal("0.25"), Decimal("0.25"), 1)
    assert AuditEvent.objects.get(action="price.set").actor == root
    for fields, name in (
        ({"input": "-1"}, "input"),
        ({"valid_from_0": "2020-01-01", "valid_from_1": "00:00"}, "valid_from"),
        ({"model": ""}, "model"),
    ):
        answer = boss.post(page("price", "add"), {**form, **fields})
        assert name in answer.context["adminform"].form.errors, fields
    assert boss.post(page("price", "change", made.pk), {**form, "input": "9"}).status_code == 403
    assert boss.post(page("price", "delete", made.pk), {"post": "yes"}).status_code == 302
    assert not Price.objects.exists()
    held = Price.objects.create(model="tiny", valid_from=THEN)
    assert boss.post(page("price", "delete", held.pk), {"post": "yes"}).status_code == 403
    boss.post(page("price", "changelist"), {"action": "delete_selected", "_selected_action": [held.pk], "post": "yes"})
    assert Price.objects.get() == held


def test_only_who_may(db: None):
    viewer = signed_in(staff("view_price"))
    assert viewer.get(page("price", "changelist")).status_code == 200
    assert viewer.get(page("price", "add")).status_code == 403
