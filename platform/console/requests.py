"""The requests that run now, on all gateways, and how an administrator cancels them. Never what they say."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from asgiref.sync import async_to_sync
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from accounts.admin.base import acting_user
from accounts.ledger import Outcome
from accounts.models import UsageRecord
from console.gateways import ask
from gateway.cancelling import POSSIBLE, do_cancel_requests, wait_for_end
from gateway.roster import Progress
from inference.client import SCOPE_KEY

MOST_SHOWN = 200
PATIENCE_SECONDS = 1.0
"""What other gateways get to say how far they are."""
VIEW, CANCEL = "accounts.view_usagerecord", "accounts.change_usagerecord"
"""Permissions. Cancelling is the one change there is of what runs, so it is what the permission to change it allows."""


@dataclass(frozen=True, slots=True)
class Line:
    record: UsageRecord
    state: str
    seconds: float
    """Since it came."""
    prompt_tokens: int
    completion_tokens: int
    priority: str
    is_counted: bool
    """Whether the prompt's tokens are the engine's count; else they are an estimate."""


@dataclass(frozen=True, slots=True)
class Running:
    lines: list[Line]
    """The oldest first, MOST_SHOWN of them."""
    total: int
    users: list[tuple[str, int]]
    """Whose, and how many; who has most first."""
    silent: list[str]
    """Gateways that did not say how far they are."""


def running(request: HttpRequest) -> Running:
    """One query, by an index that has nothing but running ones."""
    records = sorted(UsageRecord.objects.running().select_related("team"), key=lambda each: each.started_at)
    gateways = {record.gateway for record in records}
    told = ask(request, lambda gateway: gateway.roster.of(gateways, patience=PATIENCE_SECONDS)) if records else None
    progress, silent = told if told is not None else ({}, gateways)
    return Running(
        lines=[line(record, progress.get(record.request_id), silent) for record in records[:MOST_SHOWN]],
        total=len(records),
        users=Counter(record.username for record in records).most_common(),
        silent=sorted(silent),
    )


def line(record: UsageRecord, progress: Progress | None, silent: set[str]) -> Line:
    seconds = max(0.0, (timezone.now() - record.started_at).total_seconds())
    if progress is None:
        # A gateway that answers and does not name it is just settling it.
        state = "unknown" if record.gateway in silent else "ending"
        return Line(record, state, seconds, record.estimated_prompt_tokens, 0, "", False)
    prompt = progress.prompt_tokens or record.estimated_prompt_tokens
    counted = progress.prompt_tokens > 0
    return Line(record, progress.state, seconds, prompt, progress.completion_tokens, progress.priority, counted)


@require_GET
def page(request: HttpRequest) -> HttpResponse:
    context = {**admin.site.each_context(request), "title": "Live requests", **content(request)}
    return render(request, "console/requests.html", context)


@require_GET
def rows(request: HttpRequest) -> HttpResponse:
    """What the page fetches anew."""
    return render(request, "console/request_rows.html", content(request))


def content(request: HttpRequest) -> dict[str, object]:
    if not request.user.has_perm(VIEW):
        raise PermissionDenied
    return {"running": running(request), "may_cancel": request.user.has_perm(CANCEL)}


@require_POST
def cancel(request: HttpRequest) -> HttpResponse:
    """`record`: the ledger's id of one request; or `user`: all of a user's, by name."""
    if not request.user.has_perm(CANCEL):
        raise PermissionDenied
    record, user = request.POST.get("record", ""), request.POST.get("user", "")
    found = UsageRecord.objects.running()
    if POSSIBLE.fullmatch(record):
        chosen = list(found.filter(request_id=record))
    else:
        chosen = list(found.filter(username=user)) if user.isprintable() and user else []
    do_cancel_requests(chosen, acting_user=acting_user(request))
    tell(request, outcomes(request, [each.request_id for each in chosen]))
    return HttpResponseRedirect(reverse("console-requests"))


def outcomes(request: HttpRequest, ids: list[str]) -> Sequence[str]:
    if SCOPE_KEY in getattr(request, "scope", {}) and ids:
        return async_to_sync(wait_for_end)(ids)
    return ["" for _ in ids]


def tell(request: HttpRequest, outcomes: Sequence[str]) -> None:
    cancelled = sum(outcome == Outcome.CANCELLED for outcome in outcomes)
    silent = sum(not outcome for outcome in outcomes)
    if cancelled:
        messages.success(request, f"{counted(cancelled)} cancelled.")
    if ended := len(outcomes) - cancelled - silent:
        messages.info(request, f"{counted(ended)} had ended before.")
    if silent:
        messages.warning(request, f"{counted(silent)} to be cancelled by a gateway that has not answered yet.")
    if not outcomes:
        messages.info(request, "Nothing to cancel: it has ended already.")


def counted(number: int) -> str:
    return "1 request" if number == 1 else f"{number:,} requests"
