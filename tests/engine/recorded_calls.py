"""Answers as models of each family write them, and what a client is to be told.

Written down from the families' chat templates and the parsers' own expressions. What is common to all is here; the
answers are in `recorded_json` (calls that are JSON), `recorded_tags` (an argument's text between tags) and
`recorded_whole` (those whose calls are read when they are whole), as `inference.engine.text.calls` tells them apart.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recorded:
    form: str
    """The parser's name."""
    case: str
    answer: str
    calls: list[tuple[str, dict[str, Any]]]
    text: str = ""
    reasoning: str = ""
    thoughts: str = "none"
    """The reasoning parser's name."""

    def __str__(self) -> str:
        return f"{self.form}-{self.case}"


def _tool(name: str, **properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


STRING = {"type": "string"}
TOOLS = [
    _tool("get_weather", city=STRING, days={"type": "integer"}),
    _tool("write_file", path=STRING, content=STRING),
    _tool("plan", steps={"type": "array"}, options={"type": "object"}, urgent={"type": "boolean"}, note=STRING),
    _tool("get_time"),
]

PARIS = ("get_weather", {"city": "Paris"})
SAO_PAULO = ("get_weather", {"city": "São Paulo 🌧", "days": 3})
PLAN = ("plan", {"steps": ["a", {"b": [1, 2.5, None]}], "options": {"x": {"y": True}}, "urgent": False})
CODE = "if (x < \"1\") {\n  say('}])>');\n}\n"
WRITE = ("write_file", {"path": "a.js", "content": CODE})
TIME = ("get_time", {})
