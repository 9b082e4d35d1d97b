"""Rows of a ledger for tests, in whatever state and of whatever time."""

import itertools
from datetime import datetime
from typing import Any

from accounts.authentication import Principal
from accounts.models import UsageRecord

_number = itertools.count()


def ended(principal: Principal, at: datetime, **fields: Any) -> UsageRecord:
    """A request that began then and has ended; written at once, as it would be after `ledger.settle`."""
    row = UsageRecord(**{
        "request_id": f"made-{next(_number)}", "key_id": principal.key_id, "key_prefix": principal.key_prefix,
        "user_id": principal.user_id, "username": principal.username, "team_id": principal.team_id, "model": "tiny",
        "endpoint": "chat.completions", "stream": False, "gateway": "g", "state": "settled", "outcome": "stop",
        "prompt_tokens": 10, "cached_tokens": 4, "completion_tokens": 3, "engine_seconds": 0.25, "started_at": at,
        "ended_at": at, **fields,
    })  # fmt: skip
    row.save()
    return row


def running(principal: Principal, at: datetime, **fields: Any) -> UsageRecord:
    nothing = {"prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 0, "engine_seconds": 0}
    return ended(principal, at, **{"state": "running", "outcome": "", "ended_at": None, **nothing, **fields})
