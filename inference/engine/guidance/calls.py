"""The grammar of calls of tools: rules of Lark, with the arguments of each tool as a JSON Schema of its own.

Of its own, because a tool's `$ref` means a place in the tool's own schema, and because each tool says for itself
whether it is strict.
"""

import json
from typing import Any

from inference.engine.guidance.schemas import arguments

MOST_CALLS = 128
"""In one answer."""


def marked(tools: list[dict[str, Any]], start: str, end: str, *, parallel: bool) -> str:
    """The rule `calls` and those below it: each call between these marks, which are Lark already. Raises
    GrammarError."""
    again = f' ("\\n" call){{0,{MOST_CALLS - 1}}}' if parallel else ""
    return f'calls: call{again}\ncall: {start} "\\n" body "\\n" {end}\n{_bodies(tools)}'


def plain(tools: list[dict[str, Any]], *, parallel: bool) -> str:
    """The rule `calls` and those below it: one JSON object, or an array of them. Raises GrammarError."""
    several = f' | "[" body ("," " "? body){{0,{MOST_CALLS - 1}}} "]"' if parallel else ""
    return f"calls: body{several}\n{_bodies(tools)}"


def _bodies(tools: list[dict[str, Any]]) -> str:
    rules = ["body: " + " | ".join(f"body_{at}" for at in range(len(tools)))]
    for at, tool in enumerate(tools):
        function = tool["function"]
        head = f'{{"name": {json.dumps(function["name"])}, "arguments": '
        rules.append(f'body_{at}: {json.dumps(head)} arguments_{at} "}}"')
        rules.append(f"arguments_{at}: %json {arguments(function)}")
    return "\n".join(rules) + "\n"
