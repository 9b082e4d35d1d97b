"""How pages write numbers."""

from django import template
from django.contrib.humanize.templatetags.humanize import intcomma

register = template.Library()


@register.filter
def figure(value: float | None) -> str:
    """A dash for what nobody knows; small numbers with one decimal, others whole."""
    if value is None:
        return "–"
    rounded = round(value, 1)
    return intcomma(int(rounded) if rounded >= 100 or rounded == int(rounded) else rounded)
