"""Other people's clients, as they are: chat, streams, tool loops, structured output and errors.

Each runs a script of its own in an environment of its own; here is what all of them must have seen.
"""

from collections.abc import Callable
from typing import Any

import pytest

from tests.clients import cells
from tests.clients.environments import CLIENTS
from tests.clients.matrix import MATRIX
from tests.clients.running import Client

NAMES = sorted(lock.parent.name for lock in CLIENTS.glob("*/requirements.lock"))
PERSON = {"name": "Ada", "age": 36, "city": "Paris"}
BOOKING = {"people": 4, "day": "Friday"}

ERRORS = {"wrong_key": "AuthenticationError", "unknown_model": "NotFoundError", "bad_request": "BadRequestError"}
"""What most clients call them, after OpenAI's SDK."""
OWN_ERRORS = {
    "langchain-openai": {
        "wrong_key": "OpenAIAuthenticationError",
        "unknown_model": "OpenAIModelNotFoundError",
        "bad_request": "OpenAIInvalidRequestError",
    },
    # A command ends with a message instead.
    "llm": dict.fromkeys(ERRORS, "Failed"),
}
STATUSES = {"wrong_key": 401, "unknown_model": 404, "bad_request": 400}

PICTURED = {
    "colour": "red",
    "shape": "circle",
    "compared": "A red circle and a blue square: the colour and the shape.",
}
SHOWING = ("anthropic-python", "langchain-openai", "litellm", "openai-node", "openai-python", "openai-python-1")
"""Clients whose scripts send pictures."""

Run = Callable[[str], Client]
each_client = pytest.mark.parametrize("name", NAMES)


def test_the_clients_are_found() -> None:
    assert len(NAMES) == 9


@each_client
def test_a_chat_is_answered(request: pytest.FixtureRequest, run_client: Run, name: str) -> None:
    with MATRIX.cell(request, name, "chat"):
        assert "7" in run_client(name).saw("chat")["text"]


@each_client
def test_a_stream_comes_in_pieces_of_the_whole_answer(
    request: pytest.FixtureRequest, run_client: Run, name: str
) -> None:
    with MATRIX.cell(request, name, "stream"):
        saw = run_client(name).saw("stream")
        assert len(saw["pieces"]) > 1
        assert "".join(saw["pieces"]) == saw["whole"]
        assert saw["whole"].split() == [f"{number}," for number in range(1, 40)] + ["40."]


@each_client
@pytest.mark.parametrize("cell", ["tool_loop", "streamed_tool_loop"])
def test_a_tool_loop_ends_in_a_sentence_with_the_result(
    request: pytest.FixtureRequest, run_client: Run, name: str, cell: str
) -> None:
    with MATRIX.cell(request, name, "tool loop"):
        saw = run_client(name).saw(cell)
        assert saw["call"] == {"name": "get_weather", "arguments": {"city": "Paris"}}
        assert cells.WEATHER in saw["answer"] and "Paris" in saw["answer"]


@each_client
def test_structured_output_is_parsed(request: pytest.FixtureRequest, run_client: Run, name: str) -> None:
    with MATRIX.cell(request, name, "structured"):
        saw: dict[str, Any] = run_client(name).saw("structured")
        assert saw["by_schema"] == PERSON
        assert saw.get("by_tool", BOOKING) == BOOKING


@pytest.mark.parametrize("name", SHOWING)
def test_pictures_are_seen_and_compared(request: pytest.FixtureRequest, run_client: Run, name: str) -> None:
    with MATRIX.cell(request, name, "pictures"):
        assert run_client(name).saw("pictures") == PICTURED


@each_client
def test_errors_are_the_clients_own(request: pytest.FixtureRequest, run_client: Run, name: str) -> None:
    with MATRIX.cell(request, name, "errors"):
        saw = run_client(name).saw("errors")
        assert {case: each["type"] for case, each in saw.items()} == OWN_ERRORS.get(name, ERRORS)
        assert {case: each["status"] for case, each in saw.items()} == STATUSES
        assert cells.UNKNOWN_MODEL in saw["unknown_model"]["message"]
        field = saw["bad_request"].get("field", "temperature")
        assert f"`{field}`" in saw["bad_request"]["message"]
        assert cells.WRONG_KEY not in str(saw)
