"""What all the client scripts share, and the tests know of it. The scripts run inside the clients' own environments:
here is the standard library only."""

import json
import os
import traceback
from collections.abc import Callable
from typing import Any

BASE_URL = os.environ.get("CLIENT_BASE_URL", "")
"""Of the server itself, without `/v1`."""
KEY = os.environ.get("CLIENT_KEY", "")
MODEL = os.environ.get("CLIENT_MODEL", "")

QUESTION = "What is 3 + 4?"
LONG_QUESTION = "Count from 1 to 40."
"""Pieces that are ready at the same moment are sent as one: a short answer may come whole."""
WEATHER_QUESTION = "What is the weather in Paris?"
WEATHER = "sunny, 21 degrees"
PERSON_QUESTION = "Ada is 36 years old and lives in Paris. Write this as JSON with name, age and city."
BOOKING_QUESTION = "Book a table for 4 on Friday."
SEES = "atelier-tiny-vl"
COLOUR_QUESTION, SHAPE_QUESTION = "What colour is it?", "What shape is it?"
COMPARE_QUESTION = "What differs?"
RED, BLUE = os.environ.get("CLIENT_RED", ""), os.environ.get("CLIENT_BLUE", "")
"""A circle and a square, as data URLs."""
WRONG_KEY = "sk-atelier-wrong"
UNKNOWN_MODEL = "no-such-model"
BAD_TEMPERATURE = 9

WEATHER_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def get_weather(city: str) -> str:
    """Get the current weather"""
    return WEATHER if city == "Paris" else "unknown"


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def shown(question: str, *urls: str) -> dict[str, Any]:
    """As OpenAI's chat has it."""
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"role": "user", "content": [*parts, {"type": "text", "text": question}]}


def pictures(ask: Callable[..., str]) -> dict[str, str]:
    """ask: (question, *urls) to an answer."""
    return {
        "colour": ask(COLOUR_QUESTION, RED).strip(),
        "shape": ask(SHAPE_QUESTION, RED).strip(),
        "compared": ask(COMPARE_QUESTION, RED, BLUE).strip(),
    }


def raised(ask: Callable[[], object]) -> dict[str, Any]:
    """The exception that asking ends in, as the client shows it. Its `status` is None where the client hides it."""
    try:
        ask()
    except Exception as error:
        return {
            "type": type(error).__name__,
            "status": getattr(error, "status_code", None),
            "message": str(error),
        }
    return {"type": None, "status": None, "message": "nothing was raised"}


def report(version: str, **cells: Callable[[], Any]) -> None:
    """Prints one line of JSON: the client's version, what each cell saw, and the traceback of each that failed."""
    saw: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for name, cell in cells.items():
        try:
            saw[name] = cell()
        except Exception:
            failed[name] = traceback.format_exc()
    print(json.dumps({"version": version, "saw": saw, "failed": failed}))
