"""The admin's first page: what runs now, who used what today, what is nearly used up, and what went wrong.

Made anew every few seconds for whoever looks, so it reads little: engines by their heartbeats, limits from the counters
that requests are held to, the ledger by index only, and today's sums at most once in SUMS_SECONDS.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psutil
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET
from redis import RedisError

from accounts.models import Team, UsageRecord
from accounts.quotas.limiter import Standing
from accounts.usage import Sums, used
from console.gateways import ask
from inference.admin.engines import listen_for_page, memory
from inference.engine.options import OptionError, make
from inference.models import Engine, Model

SUMS_SECONDS = 15
LATELY = timedelta(hours=24)
MOST_SHOWN = 8
"""Teams, limits and failures."""
NEAR = 0.8
"""Share of a limit from which on it is shown, whether or not its own threshold is reached."""


@dataclass(frozen=True, slots=True)
class EngineLine:
    engine: Engine
    rows: int
    """That it runs at once, at most."""

    @property
    def percent(self) -> int:
        """Of its rows, those that are taken."""
        heartbeat = self.engine.heartbeat
        return min(100, round(100 * heartbeat.stats.running / self.rows)) if heartbeat else 0

    @property
    def memory(self) -> str:
        return memory(self.engine.heartbeat.stats) if self.engine.heartbeat else ""


@dataclass(frozen=True, slots=True)
class Now:
    """Of all engines together; None where none has told."""

    lines: list[EngineLine]
    running: int | None = None
    waiting: int | None = None
    generated: float | None = None
    """Tokens a second, as `prefilled`."""
    prefilled: float | None = None
    hit_percent: float | None = None
    """Of the prompt tokens looked up since the engines' starts."""


@dataclass(frozen=True, slots=True)
class TeamUse:
    name: str
    requests: int
    tokens: int
    percent: float
    """Of all tokens today."""


@dataclass(frozen=True, slots=True)
class Today:
    requests: int
    tokens: int
    teams: list[TeamUse]


@dataclass(frozen=True, slots=True)
class LimitLine:
    standing: Standing

    @property
    def percent(self) -> int:
        return round(100 * share(self.standing))

    @property
    def is_reached(self) -> bool:
        return share(self.standing) >= 1


@dataclass(frozen=True, slots=True)
class Failures:
    count: int
    latest: list[UsageRecord]


@dataclass(slots=True)
class Board:
    """None: not for whoever looks, or nobody is there to ask."""

    at: datetime
    now: Now | None = None
    today: Today | None = None
    limits: list[LimitLine] | None = None
    failures: Failures | None = None
    troubled: list[Engine] = field(default_factory=list)
    """Engines that were restarted, or can't load their model."""
    machine: Any = None
    """psutil's figures of the machine's memory."""


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Unfold's hook for the admin's index."""
    return {**context, "title": "Dashboard", "board": board(request)}


@require_GET
def part(request: HttpRequest) -> HttpResponse:
    """What the page fetches anew."""
    return render(request, "console/board.html", {"board": board(request)})


def board(request: HttpRequest) -> Board:
    """What this user may see of it. Up to seven queries, and one more for each limit that nobody has met yet."""
    made = Board(timezone.localtime(), machine=psutil.virtual_memory())
    may = request.user.has_perm
    if may("inference.view_engine"):
        engines = list(Engine.objects.select_related("deployment__model").order_by("deployment__position", "pk"))
        listen_for_page(request, engines)
        made.now = now(engines)
        made.troubled = [each for each in engines if each.restarts or each.state == Engine.State.FAILED]
    if may("accounts.view_usagerecord"):
        made.today = cache.get_or_set(f"dashboard.{timezone.localdate()}", today, SUMS_SECONDS)
        made.failures = failures()
    if may("accounts.view_quota"):
        made.limits = limits(request)
    return made


def now(engines: Sequence[Engine]) -> Now:
    lines = [EngineLine(engine, rows_of(engine.deployment.model)) for engine in engines]
    beats = [engine.heartbeat for engine in engines if engine.heartbeat is not None]
    if not beats:
        return Now(lines)
    paces = [beat.pace for beat in beats if beat.pace is not None]
    asked = sum(beat.stats.cache.get("tokens_asked", 0) for beat in beats)
    saved = sum(beat.stats.cache.get("tokens_saved", 0) for beat in beats)
    return Now(
        lines,
        running=sum(beat.stats.running for beat in beats),
        waiting=sum(beat.stats.waiting for beat in beats),
        generated=sum(pace.generated for pace in paces) if paces else None,
        prefilled=sum(pace.prefilled for pace in paces) if paces else None,
        hit_percent=100 * saved / asked if asked else None,
    )


def rows_of(model: Model) -> int:
    try:
        return make(model.engine_options).max_num_seqs
    except OptionError:
        return make({}).max_num_seqs


def today() -> Today:
    """Two queries: the ledger since midnight, by its index on time, and the teams' names."""
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    found = used(start=midnight, end=None, by=["team"])
    names = dict(Team.objects.values_list("slug", "name"))
    tokens = sum(each.total_tokens for each in found)

    def line(each: Sums) -> TeamUse:
        slug = each.of["team"]
        name = names.get(slug, slug) if slug is not None else "no team"
        return TeamUse(name, each.requests, each.total_tokens, 100 * each.total_tokens / tokens if tokens else 0.0)

    return Today(sum(each.requests for each in found), tokens, [line(each) for each in found[:MOST_SHOWN]])


def limits(request: HttpRequest) -> list[LimitLine] | None:
    """The stored limits that are nearly used up, the fullest first."""
    try:
        standings = ask(request, lambda gateway: gateway.limiter.overview())
    except (RedisError, TimeoutError):
        return None
    if standings is None:
        return None
    near = [each for each in standings if share(each) >= NEAR or (each.limit and each.warns)]
    return [LimitLine(each) for each in sorted(near, key=share, reverse=True)[:MOST_SHOWN]]


def share(standing: Standing) -> float:
    """1.0 is all; so it is of a limit of nothing."""
    return standing.used / standing.limit if standing.limit else 1.0


def failures() -> Failures:
    """Two queries, by an index that has nothing but failures."""
    lately = UsageRecord.objects.failed().filter(started_at__gte=timezone.now() - LATELY)
    return Failures(lately.count(), list(lately.order_by("-started_at", "-pk")[:MOST_SHOWN]))
