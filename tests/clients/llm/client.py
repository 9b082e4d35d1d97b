"""Simon Willison's `llm`, the command-line tool, set up as its users do: a file for the model, a key by name."""

import json
import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cells

PROGRAM = Path(sys.executable).parent / "llm"
FUNCTIONS = f'''
def get_weather(city: str) -> str:
    """Get the current weather"""
    return {cells.WEATHER!r} if city == "Paris" else "unknown"
'''


class Failed(Exception):
    """Its exit status was not 0: what it printed."""


def configured() -> dict[str, str]:
    """The environment of an `llm` that knows our server as two models, one of which is not there."""
    folder = tempfile.mkdtemp()
    ours = {
        "api_base": f"{cells.BASE_URL}/v1", "api_key_name": "atelier", "supports_tools": True, "supports_schema": True,
    }  # fmt: skip
    models = [
        {"model_id": "atelier", "model_name": cells.MODEL, **ours},
        {"model_id": "nobody", "model_name": cells.UNKNOWN_MODEL, **ours},
    ]
    # YAML reads JSON.
    (Path(folder) / "extra-openai-models.yaml").write_text(json.dumps(models))
    environment = {**os.environ, "LLM_USER_PATH": folder}
    subprocess.run([PROGRAM, "keys", "set", "atelier", "--value", cells.KEY], env=environment, check=True)
    return environment


def command(*arguments: str, model: str = "atelier") -> list[str | Path]:
    return [PROGRAM, "-m", model, "-o", "temperature", "0", "--no-log", *arguments]


def llm(*arguments: str, model: str = "atelier") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command(*arguments, model=model), env=CONFIGURED, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(done.stderr)
    return done


CONFIGURED = configured()


def chat() -> dict[str, Any]:
    return {"text": llm("--no-stream", cells.QUESTION).stdout}


def stream() -> dict[str, Any]:
    """Reading as it writes. It flushes each piece, and so long an answer never comes in one read."""
    pieces: list[str] = []
    with subprocess.Popen(command(cells.LONG_QUESTION), env=CONFIGURED, stdout=subprocess.PIPE) as process:
        while piece := os.read(process.stdout.fileno(), 65536):
            pieces.append(piece.decode())
    return {"pieces": pieces, "whole": llm("--no-stream", cells.LONG_QUESTION).stdout}


def loop(*options: str) -> dict[str, Any]:
    """It calls the function by itself; with --td it tells of it."""
    done = llm(*options, "--functions", FUNCTIONS, "--td", cells.WEATHER_QUESTION)
    [(name, arguments)] = re.findall(r"Tool call: (\w+)\((.*)\)", done.stderr)
    return {"call": {"name": name, "arguments": json.loads(arguments.replace("'", '"'))}, "answer": done.stdout}


def tool_loop() -> dict[str, Any]:
    return loop("--no-stream")


def streamed_tool_loop() -> dict[str, Any]:
    return loop()


def structured() -> dict[str, Any]:
    return {"by_schema": json.loads(llm("--schema", "name, age int, city", cells.PERSON_QUESTION).stdout)}


def errors() -> dict[str, Any]:
    def ask(*options: str, model: str = "atelier") -> dict[str, Any]:
        saw = cells.raised(lambda: llm(*options, cells.QUESTION, model=model))
        status = re.search(r"Error code: (\d+)", saw["message"])
        return {**saw, "status": int(status[1]) if status else None}

    return {
        "wrong_key": ask("--key", cells.WRONG_KEY),
        "unknown_model": ask(model="nobody"),
        # It checks the temperature itself; this one goes out as it is.
        "bad_request": {**ask("-o", "max_tokens", "-1"), "field": "max_tokens"},
    }


cells.report(
    version("llm"),
    chat=chat,
    stream=stream,
    tool_loop=tool_loop,
    streamed_tool_loop=streamed_tool_loop,
    structured=structured,
    errors=errors,
)
