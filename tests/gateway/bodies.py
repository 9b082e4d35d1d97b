"""Bodies of requests, and what the endpoints make of them."""

import json
from typing import Any

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
