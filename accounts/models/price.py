"""What a model's use costs, for showing teams what they cost. Nobody is billed."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

LARGEST_PRICE = 1_000_000
PLACES = 6
"""Of a price, and of a cost that is shown. With them the largest price has no more digits than SQLite keeps."""
MILLION = 1_000_000
MICROSECONDS_PER_HOUR = 3_600_000_000


def _price(help_text: str, name: str | None = None) -> "models.DecimalField[Any, Any]":
    return models.DecimalField(
        name,
        max_digits=13,
        decimal_places=PLACES,
        default=Decimal(0),
        validators=[MinValueValidator(0), MaxValueValidator(LARGEST_PRICE)],
        help_text=help_text,
    )


class Price(models.Model):
    """Holds for requests that begin from `valid_from` on, until the next price of the model does. Prices are added,
    never changed: what a request has cost stays."""

    model = models.CharField(max_length=200, help_text="A model's own name; it need not be served yet.")
    input = _price("A million prompt tokens that the prefix cache did not have.")
    cached = _price("A million prompt tokens that it had.")
    output = _price("A million tokens of answers.")
    gpu_hour = _price("An hour of an engine's time.", "GPU-hour")
    valid_from = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["model", "-valid_from"]
        constraints = [
            # Also what finds the price of a request.
            models.UniqueConstraint(fields=["model", "valid_from"], name="price_once"),
            models.CheckConstraint(
                condition=models.Q(input__gte=0, cached__gte=0, output__gte=0, gpu_hour__gte=0),
                name="price_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} from {self.valid_from:%Y-%m-%d %H:%M %Z}"

    def clean(self) -> None:
        if not self.model.isprintable():
            raise ValidationError({"model": "Only printable characters."})

    def cost(self, *, prompt_tokens: int, cached_tokens: int, completion_tokens: int, engine_micros: int) -> Fraction:
        """In the currency of ATELIER_CURRENCY, exactly. cached_tokens: of the prompt's."""
        tokens = (
            (prompt_tokens - cached_tokens) * Fraction(self.input)
            + cached_tokens * Fraction(self.cached)
            + completion_tokens * Fraction(self.output)
        )
        return tokens / MILLION + engine_micros * Fraction(self.gpu_hour) / MICROSECONDS_PER_HOUR

    def facts(self) -> dict[str, Any]:
        """What the audit log says of it."""
        return {
            "model": self.model,
            **{name: str(getattr(self, name).normalize()) for name in ("input", "cached", "output", "gpu_hour")},
            "valid_from": self.valid_from,
        }
