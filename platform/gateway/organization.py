"""`GET /v1/organization/usage/completions`: what was used, in buckets of time, as OpenAI's usage API has it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from channels.db import database_sync_to_async
from django.db.models import Q
from msgspec import Struct, structs

from accounts.authentication import Principal
from accounts.models import Scope
from accounts.usage import RowsForgotten, Sums, used_by_time, visible_to
from gateway import errors
from gateway.answers import encode
from gateway.endpoint import KeyedEndpoint
from gateway.queries import LARGEST_TIME, given_in, number_of, some_of

WIDTHS = {"1m": 60, "1h": 3600, "1d": 86_400}
"""Seconds of a bucket."""
BUCKETS = {"1m": (60, 1440), "1h": (24, 168), "1d": (7, 31)}
"""How many of them a page has unless asked otherwise, and at most."""
GROUPS = {"project_id": "team", "user_id": "user", "api_key_id": "key", "model": "model"}
"""OpenAI's names, and ours."""
WITHIN = {"project_ids": "team__slug", "user_ids": "username", "api_key_ids": "key_prefix", "models": "model"}
"""What may be asked for alone, and the ledger's name for it."""
PARAMETERS = {"start_time", "end_time", "bucket_width", "group_by", "limit", "page", *WITHIN}


class UsageResult(Struct, kw_only=True):
    object: str = "organization.usage.completions.result"
    input_tokens: int
    """Cached ones included."""
    input_cached_tokens: int
    output_tokens: int
    num_model_requests: int
    project_id: str | None = None
    """A team's short name; this and the following are null where nobody grouped by them."""
    user_id: str | None = None
    """A user's name."""
    api_key_id: str | None = None
    """How a key begins."""
    model: str | None = None


class UsageBucket(Struct, kw_only=True):
    object: str = "bucket"
    start_time: int
    """Unix seconds; as `end_time`, which is exclusive."""
    end_time: int
    results: list[UsageResult]


class UsagePage(Struct, kw_only=True):
    object: str = "page"
    data: list[UsageBucket]
    has_more: bool
    next_page: str | None


@dataclass(frozen=True, slots=True)
class Query:
    start: int
    end: int
    width: int
    first: int
    """The page's first bucket begins then."""
    buckets: int
    by: tuple[str, ...]
    """OpenAI's names."""
    within: Q


class CompletionsUsage(KeyedEndpoint):
    needs = Scope.USAGE

    async def handle(self, body: bytes) -> None:
        query = read(given_in(self.scope, PARAMETERS), now=int(time.time()) + 1)
        try:
            rows = await database_sync_to_async(look_up)(query, self.principal)
        except RowsForgotten as forgotten:
            raise errors.invalid(
                f"`bucket_width`: {forgotten}; ask for 1d, or for later ones.", param="bucket_width"
            ) from None
        await self.answer(encode(page_of(query, rows)))


def read(given: dict[str, list[str]], *, now: int) -> Query:
    """Raises ApiError."""
    if "start_time" not in given:
        raise errors.invalid("`start_time` is required: Unix seconds.", param="start_time")
    start = number_of(given, "start_time", 0, 0, LARGEST_TIME)
    end = number_of(given, "end_time", max(start, now), 0, LARGEST_TIME)
    if end < start:
        raise errors.invalid("`end_time` must not be before `start_time`.", param="end_time")
    width = given.get("bucket_width", ["1d"])[-1]
    if width not in WIDTHS:
        raise errors.invalid(f"`bucket_width` must be one of {', '.join(WIDTHS)}.", param="bucket_width")
    by = some_of(given, "group_by", GROUPS)
    usual, most = BUCKETS[width]
    seconds = WIDTHS[width]
    first = start // seconds * seconds
    if "page" in given:
        first = number_of({"page": [given["page"][-1].removeprefix("page_")]}, "page", 0, first, LARGEST_TIME)
        first = first // seconds * seconds
    within = Q()
    for name, column in WITHIN.items():
        if name in given:
            within &= Q(**{f"{column}__in": given[name]})
    return Query(start, end, seconds, first, number_of(given, "limit", usual, 1, most), by, within)


def look_up(query: Query, principal: Principal) -> list[tuple[int, Sums]]:
    """By the bucket's beginning, in Unix seconds."""
    last = min(query.end, query.first + query.buckets * query.width)
    found = used_by_time(
        start=_moment(max(query.start, query.first)),
        end=_moment(last),
        width=timedelta(seconds=query.width),
        by=[GROUPS[name] for name in query.by],
        where=query.within & visible_to(principal),
    )
    return [(int(begins.timestamp()), sums) for begins, sums in found]


def page_of(query: Query, rows: Sequence[tuple[int, Sums]]) -> UsagePage:
    starts = range(query.first, query.end if query.end > query.start else query.first, query.width)[: query.buckets]
    results: dict[int, list[UsageResult]] = {start: [] for start in starts}
    for begins, sums in rows:
        result = UsageResult(
            input_tokens=sums.prompt_tokens,
            input_cached_tokens=sums.cached_tokens,
            output_tokens=sums.completion_tokens,
            num_model_requests=sums.requests,
        )
        named = {name: sums.of[GROUPS[name]] for name in query.by}
        results[begins].append(structs.replace(result, **named))
    data = [UsageBucket(start_time=start, end_time=start + query.width, results=results[start]) for start in starts]
    following = query.first + query.buckets * query.width
    more = following < query.end
    return UsagePage(data=data, has_more=more, next_page=f"page_{following}" if more else None)


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
