"""What was used, by days: a chart, totals and filters over the daily sums."""

import json
from collections import defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from accounts import exports
from accounts.admin.base import ReadOnlyAdmin
from accounts.admin.downloads import csv_download
from accounts.admin.filters import distinct
from accounts.models import Team, UsageDaily
from accounts.rollups import midnight
from accounts.usage import DAY, GROUPS, Sums, used, used_by_time

PERIODS = {"7": "7 days", "30": "30 days", "90": "90 days", "365": "a year"}
MOST_DAYS = 1100
USUAL = {"days": "30", "by": "team", "show": "tokens"}
SHOWN = {"tokens": "tokens", "requests": "requests", "gpu": "GPU-seconds", "cost": "cost"}
COLOURS = ("#7c3aed", "#0ea5e9", "#10b981", "#f59e0b", "#ef4444", "#ec4899", "#84cc16", "#14b8a6")
"""Of the largest groups; told apart on light and on dark."""
OTHERS = "#9ca3af"
HEADERS = ("requests", "failed", "prompt tokens", "of them cached", "tokens of answers", "GPU-seconds")


class UsageForm(forms.Form):
    """What the page shows. All of it may be left out."""

    days = forms.ChoiceField(choices=PERIODS.items(), required=False, label="Period")
    start = forms.DateField(required=False, label="or from", widget=UnfoldAdminTextInputWidget({"type": "date"}))
    end = forms.DateField(required=False, label="to", widget=UnfoldAdminTextInputWidget({"type": "date"}))
    by = forms.ChoiceField(choices=[(name, name) for name in GROUPS], required=False, label="By")
    show = forms.ChoiceField(choices=SHOWN.items(), required=False)
    team = forms.ChoiceField(required=False)
    user = forms.ChoiceField(required=False)
    model = forms.ChoiceField(required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        everybody = ("", "all")
        self.chosen("team").choices = [everybody, *Team.objects.values_list("slug", "name")]
        self.chosen("user").choices = [everybody, *((name, name) for name in distinct(UsageDaily, "username"))]
        self.chosen("model").choices = [everybody, *((name, name) for name in distinct(UsageDaily, "model"))]
        for field in self.fields.values():
            if isinstance(field, forms.ChoiceField):
                field.widget = UnfoldAdminSelectWidget(choices=field.choices)

    def chosen(self, name: str) -> forms.ChoiceField:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        return field

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        today = timezone.now().date()
        end = given.get("end") or today
        start = given.get("start") or end - timedelta(days=int(given.get("days") or USUAL["days"]) - 1)
        if given.get("start") and not 0 <= (end - start).days < MOST_DAYS:
            self.add_error("start", f"Choose a span of 1 to {MOST_DAYS} days, which begins before it ends.")
        elif not 1970 <= start.year <= end.year < 9999:
            self.add_error("end", "Choose a day from 1970 on.")
        return {**given, "start": start, "end": end}

    def span(self) -> tuple[date, date]:
        """First and last day, in UTC; of what was not understood, the last 30 days."""
        if self.is_valid():
            return self.cleaned_data["start"], self.cleaned_data["end"]
        today = timezone.now().date()
        return today - timedelta(days=29), today

    def value(self, name: str) -> str:
        return (self.cleaned_data.get(name) if self.is_valid() else None) or USUAL.get(name, "")

    def where(self) -> Q:
        given = {GROUPS[name]: self.value(name) for name in ("team", "user", "model")}
        return Q(**{column: value for column, value in given.items() if value})


@admin.register(UsageDaily)
class UsageAdmin(ReadOnlyAdmin):
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = UsageForm({**USUAL, **request.GET.dict()})
        first, last = form.span()
        by, show, where = form.value("by"), form.value("show"), form.where()
        span: dict[str, Any] = {"start": midnight(first), "end": midnight(last) + DAY, "where": where}
        by_day = used_by_time(**span, width=DAY, by=[by])
        if request.GET.get("format") == "csv":
            return csv_download("usage", iter([exports.of_daily_sums([by], by_day)]))
        [whole], groups = used(**span), used(**span, by=[by])
        names = dict(Team.objects.values_list("slug", "name")) if by == "team" else {}
        shown = sorted(groups, key=lambda sums: -amount(sums, show))
        days = [first + number * DAY for number in range((last - first).days + 1)]
        context = {
            **self.admin_site.each_context(request),
            "title": "Usage",
            "opts": self.opts,
            "form": form,
            "first": first,
            "last": last,
            "show": SHOWN[show],
            "currency": settings.CURRENCY,
            "totals": totals(whole),
            "has_usage": bool(groups),
            "chart": json.dumps(chart(days, by, show, shown, by_day, names)),
            "options": json.dumps(OPTIONS),
            "table": {
                "headers": [by, *HEADERS, f"cost ({settings.CURRENCY})"],
                "rows": [[label(sums, by, names), *figures(sums)] for sums in groups],
            },
            "csv_query": "&".join(filter(None, [request.GET.urlencode(), "format=csv"])),
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/usage.html", context)


def chart(
    days: list[date], by: str, show: str, groups: list[Sums], by_day: list[tuple[datetime, Sums]], names: dict[str, str]
) -> dict[str, Any]:
    """For Chart.js: a bar for each day, of the largest groups and the rest. groups: the largest first."""
    places = {sums.of[by]: place for place, sums in enumerate(groups)}
    values: defaultdict[int, list[float]] = defaultdict(lambda: [0.0] * len(days))
    for begins, sums in by_day:
        place = min(places.get(sums.of[by], len(COLOURS)), len(COLOURS))
        values[place][(begins.date() - days[0]).days] += amount(sums, show)
    labels = [label(sums, by, names) for sums in groups[: len(COLOURS)]]
    bars = [
        {"label": text, "data": values[place], "backgroundColor": COLOURS[place]} for place, text in enumerate(labels)
    ]
    if len(COLOURS) in values:
        bars.append({"label": "others", "data": values[len(COLOURS)], "backgroundColor": OTHERS})
    return {"labels": [f"{day:%Y-%m-%d}" for day in days], "datasets": bars}


def amount(sums: Sums, show: str) -> float:
    match show:
        case "requests":
            return sums.requests
        case "gpu":
            return round(sums.engine_seconds, 3)
        case "cost":
            return float(sums.cost or 0)
    return sums.total_tokens


def label(sums: Sums, by: str, names: dict[str, str]) -> str:
    text = sums.of[by]
    return names.get(text, text) if text else "none"


def totals(sums: Sums) -> list[tuple[str, str]]:
    return [
        ("tokens", f"{sums.total_tokens:,}"),
        ("requests", f"{sums.requests:,}"),
        ("GPU-hours", f"{sums.engine_seconds / 3600:,.2f}"),
        (f"cost ({settings.CURRENCY})", money(sums.cost)),
    ]


def figures(sums: Sums) -> list[str]:
    counts = (sums.requests, sums.failed, sums.prompt_tokens, sums.cached_tokens, sums.completion_tokens)
    return [*(f"{count:,}" for count in counts), f"{sums.engine_seconds:,.1f}", money(sums.cost)]


def money(cost: Decimal | None) -> str:
    return "-" if cost is None else f"{cost:,.2f}"


_AXIS: dict[str, Any] = {"stacked": True, "border": {"display": False}, "ticks": {"color": OTHERS}}
OPTIONS: dict[str, Any] = {
    "animation": False,
    "responsive": True,
    "maintainAspectRatio": False,
    "interaction": {"mode": "index", "intersect": False},
    "plugins": {
        "legend": {
            "position": "bottom",
            "labels": {"color": OTHERS, "usePointStyle": True, "pointStyle": "circle", "boxHeight": 6, "boxWidth": 6},
        }
    },
    "datasets": {"bar": {"maxBarThickness": 28}},
    "scales": {
        "x": {**_AXIS, "grid": {"display": False}, "ticks": {"color": OTHERS, "maxTicksLimit": 8, "maxRotation": 0}},
        "y": {**_AXIS, "beginAtZero": True, "grid": {"lineWidth": 1}},
    },
}
"""Of Chart.js. unfold colours the grid, as the theme wants it."""
