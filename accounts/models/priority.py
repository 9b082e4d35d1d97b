"""Whose requests go first: classes, and shares within a class."""

from collections.abc import Sequence

from django.core.exceptions import ValidationError
from django.db import models


class PriorityClass(models.TextChoices):
    """First to last. The engine serves a class only what those before it leave (docs/scheduler.md)."""

    INTERACTIVE = "interactive", "interactive: before all others"
    API = "api", "api: the usual one"
    BATCH = "batch", "batch: behind all others"


ORDER: Sequence[str] = PriorityClass.values


def lower_of(one: str, other: str) -> str:
    """Of two classes the one that is served later."""
    return max(one, other, key=ORDER.index)


LEAST_WEIGHT, MOST_WEIGHT = 0.01, 100.0


def check_weight(value: float) -> None:
    """Raises ValidationError; so for what is not a number, which no comparison holds for."""
    if not LEAST_WEIGHT <= value <= MOST_WEIGHT:
        raise ValidationError(f"Give a number from {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}.")


def weight_field() -> models.FloatField:  # type: ignore[type-arg]
    """A share beside others of the same class: who has 2 gets twice what who has 1 gets, while both want more."""
    return models.FloatField(
        default=1.0,
        validators=[check_weight],
        help_text=f"Share of the machine beside others, from {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}; 1 is the usual one.",
    )
