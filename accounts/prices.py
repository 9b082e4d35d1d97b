"""The verbs of prices, and which of them held when."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import OuterRef, Subquery
from django.utils import timezone

from accounts import audit
from accounts.models import Price, Rollups, User
from accounts.models.price import PLACES

FARTHEST = timedelta(days=3660)
"""Ahead of which nobody sets a price."""
NOT_TO_COME = "Choose a full minute to come, of the next ten years: what was used keeps its price."


@transaction.atomic
def do_set_price(
    model: str,
    *,
    input: Decimal = Decimal(0),
    cached: Decimal | None = None,
    output: Decimal = Decimal(0),
    gpu_hour: Decimal = Decimal(0),
    valid_from: datetime | None = None,
    acting_user: User | None,
) -> Price:
    """The model's price from then on, from the next full minute if not named. input, cached, output: of a million
    tokens; cached as much as input, if None. What has begun before keeps its price: an earlier time is refused."""
    # Who adds up meanwhile would not see this price, and requests of the minute that begins would go without.
    Rollups.hold()
    begins = _next_minute() if valid_from is None else valid_from
    price = Price(
        model=model,
        input=input,
        cached=input if cached is None else cached,
        output=output,
        gpu_hour=gpu_hour,
        valid_from=begins,
    )
    price.full_clean(validate_unique=False, validate_constraints=False)
    if not is_to_come(begins):
        raise ValidationError({"valid_from": NOT_TO_COME})
    if Price.objects.filter(model=model, valid_from=begins).exists():
        raise ValidationError({"valid_from": f"{model} has a price from that moment on already; withdraw that first."})
    before = price_at(model, begins)
    price.save()
    known = before.facts() if before else None
    audit.record("price.set", price, acting_user=acting_user, before=known, after=price.facts())
    return price


@transaction.atomic
def do_withdraw_price(price: Price, *, acting_user: User | None) -> None:
    """One that does not hold yet."""
    Rollups.hold()
    stored = Price.objects.select_for_update().get(pk=price.pk)
    if stored.valid_from <= timezone.now():
        raise ValidationError(f"The price of {stored} holds already; set another one for the time to come.")
    audit.record("price.withdrawn", stored, acting_user=acting_user, before=stored.facts())
    stored.delete()


def is_to_come(moment: datetime) -> bool:
    """Whether a price may begin to hold then."""
    return _next_minute() <= moment <= timezone.now() + FARTHEST


def price_at(model: str, moment: datetime) -> Price | None:
    """One query."""
    return Price.objects.filter(model=model, valid_from__lte=moment).order_by("-valid_from").first()


def price_when_begun() -> Subquery:
    """The id of the price that a row of the ledger began under, or NULL."""
    prices = Price.objects.filter(model=OuterRef("model"), valid_from__lte=OuterRef("started_at"))
    return Subquery(prices.order_by("-valid_from").values("pk")[:1])


def _next_minute() -> datetime:
    return timezone.now().replace(second=0, microsecond=0) + timedelta(minutes=1)


def rounded(costs: Iterable[Fraction]) -> Decimal:
    """Their sum, rounded once, to PLACES."""
    return Decimal(round(sum(costs, Fraction(0)) * 10**PLACES)).scaleb(-PLACES)
