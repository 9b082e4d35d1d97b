"""Bodies of requests, what the endpoints make of them, and whose they are."""

import json
from typing import Any

from accounts.authentication import Principal
from gateway.ask import Ask
from gateway.chat import ChatCompletions
from gateway.completions import Completions
from gateway.context import RequestContext

USER = {"role": "user", "content": "hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def chat(**fields: Any) -> tuple[Ask, RequestContext]:
    context = RequestContext.of_headers([])
    body = json.dumps({"model": "m", "messages": [USER], **fields}).encode()
    ask, _ = ChatCompletions().parse(body, context)
    return ask, context


def completion(**fields: Any) -> tuple[Ask, RequestContext]:
    context = RequestContext.of_headers([])
    body = json.dumps({"model": "m", "prompt": "once", **fields}).encode()
    ask, _ = Completions().parse(body, context)
    return ask, context


def principal(*, user_id: int, team_id: int | None = None, key_id: int = 1) -> Principal:
    return Principal(
        key_id=key_id, key_prefix="sk-atelier-1", user_id=user_id, username="u", team_id=team_id, expires_at=None
    )
