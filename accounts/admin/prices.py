"""Prices of models: set for the time to come, and withdrawn before they hold."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from accounts import prices
from accounts.admin.base import Admin, acting_user
from accounts.models import Price

FIELDS = ["model", "input", "cached", "output", "gpu_hour", "valid_from"]


class PriceForm(forms.ModelForm):  # type: ignore[type-arg]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, help_text in (
            ("valid_from", "When it begins to hold; empty: the next full minute."),
            ("cached", "A million tokens that the prefix cache had; empty: as input."),
        ):
            if name in self.fields:
                self.fields[name].required, self.fields[name].help_text = False, help_text
        if "cached" in self.fields:
            self.fields["cached"].initial = None

    def clean_valid_from(self) -> Any:
        moment = self.cleaned_data["valid_from"]
        if moment is not None and not prices.is_to_come(moment):
            raise ValidationError(prices.NOT_TO_COME)
        return moment


@admin.register(Price)
class PriceAdmin(Admin):
    form = PriceForm
    fields = FIELDS
    list_display = ["model", "valid_from", "input", "cached", "output", "gpu_hour"]
    search_fields = ["model__exact"]
    search_help_text = "A whole model name."

    def has_change_permission(self, request: HttpRequest, obj: Price | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Price | None = None) -> bool:
        """What was used keeps its price."""
        allowed: bool = super().has_delete_permission(request, obj)
        return allowed and (obj is None or obj.valid_from > timezone.now())

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Not in bulk: some of them hold already."""
        return {}

    def get_form(self, request: HttpRequest, obj: Price | None = None, change: bool = False, **kwargs: Any) -> Any:
        kwargs["help_texts"] = {"model": f"A model's own name. Prices are in {settings.CURRENCY}."}
        return super().get_form(request, obj, change=change, **kwargs)

    def save_model(self, request: HttpRequest, obj: Price, form: Any, change: bool) -> None:
        given = {name: form.cleaned_data.get(name) for name in FIELDS}
        made = prices.do_set_price(given.pop("model"), **given, acting_user=acting_user(request))
        obj.__dict__.update(made.__dict__)

    def delete_model(self, request: HttpRequest, obj: Price) -> None:
        prices.do_withdraw_price(obj, acting_user=acting_user(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Price]) -> None:
        raise ValidationError("Prices are withdrawn one by one.")
