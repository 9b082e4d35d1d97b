"""Pages of tables that only grow: each begins where the other ended, by an index, however deep it lies. Nothing is
counted and nothing is skipped over."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from django.db.models import Model, QuerySet

M = TypeVar("M", bound=Model)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Place:
    """Of a row in the order of a moment of its, then of its id."""

    moment: datetime
    pk: int

    @classmethod
    def of(cls, row: Model, field: str) -> "Place":
        return cls(getattr(row, field), row.pk)

    def __str__(self) -> str:
        return f"{(self.moment - _EPOCH) // _MICROSECOND}-{self.pk}"

    @classmethod
    def read(cls, text: str) -> "Place":
        """Raises ValueError for what `str` does not say of any place."""
        moment, mark, pk = text.partition("-")
        if not (mark and _is_number(moment) and _is_number(pk)):
            raise ValueError(f"{text!r} is no place")
        try:
            return cls(_EPOCH + int(moment) * _MICROSECOND, int(pk))
        except OverflowError as error:
            raise ValueError(f"{text!r} is no time") from error


def older(rows: QuerySet[M], field: str, place: Place) -> QuerySet[M]:
    """Those before the place, the nearest first."""
    # In this form, because databases look up one side of it in an index and skip the few of the same moment.
    found = rows.filter(**{f"{field}__lte": place.moment}).exclude(**{field: place.moment, "pk__gte": place.pk})
    return found.order_by(f"-{field}", "-pk")


def newer(rows: QuerySet[M], field: str, place: Place) -> QuerySet[M]:
    """Those behind the place, the nearest first."""
    found = rows.filter(**{f"{field}__gte": place.moment}).exclude(**{field: place.moment, "pk__lte": place.pk})
    return found.order_by(field, "pk")


def chunks(rows: QuerySet[M], field: str, size: int) -> Iterator[list[M]]:
    """All of them, the oldest first, in lists of at most so many. One query each; only one is in memory at a time."""
    following: QuerySet[Any] = rows.order_by(field, "pk")
    while found := list(following[:size]):
        yield found
        if len(found) < size:
            return
        following = newer(rows, field, Place.of(found[-1], field))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19
