"""What stands behind the question mark of a URL."""

from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qsl

from gateway import errors
from gateway.context import of
from gateway.endpoint import refuse_ignored

MOST_NAMED = 200
"""Parameters of a query."""
LARGEST_TIME = 253_402_300_799
"""The last second of the year 9999, which databases still know."""


def given_in(scope: dict[str, Any], known: Collection[str]) -> dict[str, list[str]]:
    """By parameter, its values: those of lists may be repeated or have commas, and the name may end with []. What is
    not known is named as ignored. Raises ApiError for what can't be read."""
    try:
        pairs = parse_qsl(
            scope["query_string"].decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_NAMED
        )
    except ValueError:
        raise errors.invalid("The query of the URL is not valid UTF-8 or has too many parameters.") from None
    given: dict[str, list[str]] = {}
    if any("\0" in value for _, value in pairs):
        # PostgreSQL has no text with it, and nothing here is called so.
        raise errors.invalid("The query of the URL has a null character.")
    for name, value in pairs:
        given.setdefault(name.removesuffix("[]"), []).extend(value.split(","))
    context = of(scope)
    context.ignored = [name for name in given if name not in known]
    refuse_ignored(context)
    return given


def number_of(given: dict[str, list[str]], name: str, usual: int, least: int, most: int) -> int:
    """The last of its values, or the usual one. Raises ApiError."""
    text = given.get(name, [str(usual)])[-1]
    if not (text.isascii() and text.isdigit() and len(text) < 16 and least <= int(text) <= most):
        raise errors.invalid(f"`{name}` must be a whole number from {least} to {most}.", param=name)
    return int(text)


def some_of(given: dict[str, list[str]], name: str, choices: Collection[str]) -> tuple[str, ...]:
    """Its values, each once. Raises ApiError for one that is no choice."""
    found = tuple(dict.fromkeys(given.get(name, [])))
    if unknown := [value for value in found if value not in choices]:
        raise errors.invalid(f"`{name}`: {errors.quote(unknown[0])} is not one of {', '.join(choices)}.", param=name)
    return found
