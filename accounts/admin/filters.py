"""Filters of lists that may be long: an index answers both the filter and what there is to choose from."""

from typing import Any

from django.contrib import admin
from django.db import connection
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

from accounts.models import AuditEvent, UsageDaily, UsageRecord


def distinct(model: type[Model], name: str) -> list[str]:
    """The values of a column, in order. One query that leaps from each to the next by the index which begins with it,
    where DISTINCT would read all of that."""
    table, column = (connection.ops.quote_name(part) for part in (model._meta.db_table, name))
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH RECURSIVE found(value) AS (SELECT MIN({column}) FROM {table} UNION ALL "
            f"SELECT (SELECT MIN({column}) FROM {table} WHERE {column} > found.value) FROM found "
            "WHERE found.value IS NOT NULL) SELECT value FROM found WHERE value IS NOT NULL"
        )
        return [value for (value,) in cursor.fetchall()]


def beginning(field: str, text: str) -> Q:
    """Whose field begins so, by an index."""
    if connection.vendor == "sqlite":
        # Its LIKE uses none. No text sorts behind the last character that there is.
        return Q(**{f"{field}__gte": text, f"{field}__lt": f"{text}\U0010ffff"})
    return Q(**{f"{field}__startswith": text})


class ColumnFilter(admin.SimpleListFilter):
    """By one column, of the values that some table has of it."""

    source: tuple[type[Model], str]
    """The table and its column, with which an index begins."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        model, column = self.source
        return [(value, self.label(value)) for value in distinct(model, column)]

    def label(self, value: str) -> str:
        return value

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset if value is None else queryset.filter(**{self.source[1]: value})


class ModelFilter(ColumnFilter):
    title = parameter_name = "model"
    source = (UsageDaily, "model")


class ActionFilter(ColumnFilter):
    title = parameter_name = "action"
    source = (AuditEvent, "action")


class ActorFilter(ColumnFilter):
    title, parameter_name = "actor", "actor"
    source = (AuditEvent, "actor_name")

    def label(self, value: str) -> str:
        return value or "command line"


class OutcomeFilter(admin.SimpleListFilter):
    title = parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("running", "running"), *UsageRecord.Outcome.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value is None:
            return queryset
        return queryset.filter(outcome="" if value == "running" else value)
