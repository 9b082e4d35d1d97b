"""Lists of tables that only grow, in pages that begin where another ended: nothing is counted, nothing skipped over."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import PAGE_VAR
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.views import ChangeList

from accounts.admin.base import ReadOnlyAdmin
from accounts.keyset import Place, newer, older


@dataclass(frozen=True, slots=True)
class Pages:
    """What the list's template asks its paginator."""

    per_page: int
    template_name: str = "admin/keyset_pages.html"


class KeysetChangeList(ChangeList):  # type: ignore[misc]  # unfold has no types
    """The newest first. `p` in the query says `older-PLACE`, `newer-PLACE` or a day; else it is the first page."""

    older_url = newer_url = newest_url = ""

    def get_queryset(self, request: HttpRequest, exclude_parameters: list[str | None] | None = None) -> QuerySet[Any]:
        if any("\0" in value for values in self.filter_params.values() for value in values):
            # PostgreSQL has no text with it.
            raise IncorrectLookupParameters
        rows: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        return rows

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str]:
        return [f"-{self.model_admin.moment_field}", "-pk"]

    def get_results(self, request: HttpRequest) -> None:
        field, size = self.model_admin.moment_field, self.list_per_page
        towards, place = asked(request.GET.get(PAGE_VAR, ""))
        rows: list[Any] = []
        has_older = has_newer = True
        if place and towards == "newer":
            rows = list(newer(self.queryset, field, place)[: size + 1])
            rows = rows[size - 1 :: -1] if len(rows) > size else []
        if not rows:
            # Also where less than a page is newer: that is the first page.
            place = place if towards == "older" else None
            rows = list((older(self.queryset, field, place) if place else self.queryset)[: size + 1])
            has_older, has_newer, rows = len(rows) > size, place is not None, rows[:size]
        if has_older:
            self.older_url = self.page_url("older", Place.of(rows[-1], field))
        if has_newer:
            self.newer_url = self.page_url("newer", Place.of(rows[0], field) if rows else place)
            self.newest_url = self.get_query_string()
        self.result_list = rows
        # The page's own: how many there are in all, nobody counts.
        self.result_count = self.full_result_count = len(rows)
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all = self.multi_page = False
        self.paginator = Pages(size)

    def page_url(self, towards: str, place: Place | None) -> str:
        url: str = self.get_query_string({PAGE_VAR: f"{towards}-{place}"})
        return url

    def hidden(self) -> list[tuple[str, str]]:
        """What a form has to send along so that the list stays filtered."""
        return [(name, value) for name, values in self.filter_params.items() for value in values]


def asked(page: str) -> tuple[str, Place | None]:
    """In which direction, and from where."""
    towards, _, place = page.partition("-")
    try:
        if towards in ("older", "newer"):
            return towards, Place.read(place)
        if (day := parse_date(page)) and 1970 <= day.year < 9999:
            return "older", Place(timezone.make_aware(datetime(day.year, day.month, day.day)) + timedelta(days=1), 0)
    except ValueError:
        pass
    return "older", None


class AppendOnlyAdmin(ReadOnlyAdmin):
    """For tables that only grow. Its filters have to be answered by indexes that end with the moment and the id."""

    moment_field: str
    """When a row came to be; with the id, the order of the list."""
    list_display_links = ["when"]
    show_facets = ReadOnlyAdmin.show_facets.NEVER
    sortable_by: list[str] = []

    @admin.display(description="when")
    def when(self, row: Any) -> SafeString:
        moment = timezone.localtime(getattr(row, self.moment_field))
        return format_html('<span class="whitespace-nowrap">{}</span>', f"{moment:%Y-%m-%d %H:%M:%S}")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        return KeysetChangeList
