"""One call of a tool as it is written: its name and its arguments, as early as they are certain."""

import json
import uuid
from typing import Any

from inference.engine.protocol import CallDelta
from inference.engine.text.markup import ToolFormat

INCREMENTAL = {"json_tools", "cohere2_moe", "qwen3_coder", "gemma4"}
"""Formats whose arguments mlx-vlm reads while they are written."""


class CallReader:
    """Reads the bodies of calls, one after the other, of one answer."""

    def __init__(self, form: ToolFormat, tools: list[dict[str, Any]]):
        self._form = form
        self._tools = tools
        self._body = ""
        self._state: Any = None
        """mlx-vlm's reader of arguments that are still written."""
        self._first = 0
        """The index of the first call of the body that is read now."""
        self.count = 0
        """Calls so far."""

    def begin(self) -> None:
        self._body = ""
        self._first = self.count
        self._state = None
        if self._form.name in INCREMENTAL and self._form.module is not None:
            from mlx_vlm.tools.streaming import ToolCallDeltaState  # a second of imports

            self._state = ToolCallDeltaState(self._form.module, self._tools)
            self._state.feed(self._form.starts[0])

    def push(self, text: str) -> list[CallDelta]:
        """More of the body."""
        self._body += text
        return self._incremental(text)

    def end(self) -> list[CallDelta] | None:
        """The body is whole. None where it was no call, and nothing of it was passed on as one."""
        if self._state is not None:
            before = self.count
            deltas = self._incremental(self._form.end or "\n")
            if deltas or before > self._first or self.count > self._first:
                return deltas
        try:
            parsed = self._form.parse(self._body.strip(), self._tools)
            calls = [_whole(call) for call in (parsed if isinstance(parsed, list) else [parsed])]
        except Exception:  # parsers of foreign formats raise what they like
            return None
        deltas = []
        for name, arguments, id in calls:
            deltas.append(CallDelta(self.count, id or new_id(), name, arguments))
            self.count += 1
        return deltas or None

    @property
    def body(self) -> str:
        return self._body

    def _incremental(self, text: str) -> list[CallDelta]:
        if self._state is None:
            return []
        try:
            found = self._state.feed(text)
        except Exception:
            # What has been passed on stays; the rest can't be read any more.
            self._state = None
            return []
        deltas = []
        for each in found:
            index = self._first + each["index"]
            function = each["function"]
            if "name" in function:
                self.count = max(self.count, index + 1)
                deltas.append(CallDelta(index, new_id(), function["name"], function["arguments"]))
            else:
                deltas.append(CallDelta(index, None, None, function["arguments"]))
        return deltas


def new_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"


def _whole(call: Any) -> tuple[str, str, str | None]:
    """(name, arguments as JSON, id if the model gave one). Raises for what is no call."""
    name, arguments, id = call["name"], call.get("arguments", {}), call.get("id")
    if not isinstance(name, str) or not name.strip():
        raise ValueError("a call without a name")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return name.strip(), text, id if isinstance(id, str) and id else None
