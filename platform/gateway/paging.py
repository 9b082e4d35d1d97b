"""Lists that are read page by page, as OpenAI's are: `after`, `limit`, `order`."""

from collections.abc import Collection
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from django.db.models import Model, Q, QuerySet

from gateway import errors
from gateway.context import of
from gateway.endpoint import refuse_ignored

M = TypeVar("M", bound=Model)

MOST_PARAMETERS = 100
LONGEST_NUMBER = 9
"""Digits."""


def query_of(scope: dict[str, Any], known: Collection[str]) -> dict[str, str]:
    """The query's parameters, of several of a name the last. Raises ApiError for what is no text, and for unknown ones
    under --strict-parameters."""
    try:
        given = dict(
            parse_qsl(
                scope["query_string"].decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS
            )
        )
    except ValueError:
        raise errors.invalid("The query of the URL is not valid UTF-8 or has too many parameters.") from None
    context = of(scope)
    context.ignored = [name for name in given if name not in known]
    refuse_ignored(context)
    return given


def limit_of(query: dict[str, str], *, usual: int, most: int) -> int:
    """Raises ApiError."""
    text = query.get("limit", str(usual))
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER and 1 <= int(text) <= most):
        raise errors.invalid(f"`limit` must be a whole number from 1 to {most}.", param="limit")
    return int(text)


def is_ascending(query: dict[str, str]) -> bool:
    """Whether `order` asks for the oldest first. Raises ApiError."""
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise errors.invalid("`order` must be asc or desc.", param="order")
    return order == "asc"


def page(rows: "QuerySet[M]", *, after: M | None, limit: int, ascending: bool = False) -> tuple[list[M], bool]:
    """Up to `limit` of these rows, by the time of their creation, and whether there are more. One query."""
    if after is not None:
        moment, side = after.created_at, "gt" if ascending else "lt"  # type: ignore[attr-defined]
        rows = rows.filter(
            Q(**{f"created_at__{side}": moment}) | Q(**{"created_at": moment, f"pk__{side}": after.pk}),
        )
    order = ("created_at", "pk") if ascending else ("-created_at", "-pk")
    found = list(rows.order_by(*order)[: limit + 1])
    return found[:limit], len(found) > limit
