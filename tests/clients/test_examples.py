"""The examples in `docs/examples` run as they are, each among its client's packages, and say what they should."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.environments import Environment
from tests.clients.running import variables
from tests.support.server import ROOT, Server
from tests.support.services import missing

EXAMPLES = ROOT / "docs" / "examples"
RUN_SECONDS = 120
SUM = "3 + 4 = 7."
WEATHER = "The weather in Paris: sunny, 21 degrees."
SAID = {
    "chat.py": ("openai-python", SUM),
    "batch.py": ("openai-python", f"sum-4 {SUM}\n"),
    "stream.py": ("openai-python", "18, 19, 20."),
    "tools.py": ("openai-python", WEATHER),
    "structured.py": ("openai-python", "Person(name='Ada', age=36, city='Paris')"),
    "thinking.py": ("openai-python", f"Answer: {SUM}"),
    "with_anthropic.py": ("anthropic-python", SUM),
    "with_instructor.py": ("instructor", "Person(name='Ada', age=36)"),
    "with_langchain.py": ("langchain-openai", SUM),
    "with_litellm.py": ("litellm", SUM),
    "with_llama_index.py": ("llama-index", SUM),
    "with_node.mjs": ("openai-node", WEATHER),
    "llm.sh": ("llm", f"{SUM}\n"),
    "curl.sh": (None, f'"content":"{SUM}"'),
}
"""The environment that the example runs in, and what its output has in it."""


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.iterdir()} == set(SAID)


@pytest.mark.parametrize("name", SAID)
def test_the_example_runs(server: Server, tmp_path: Path, name: str) -> None:
    client, said = SAID[name]
    script = EXAMPLES / name
    addresses = {
        "OPENAI_BASE_URL": f"{server.base_url}/v1",
        "OPENAI_API_KEY": server.key,
        "ANTHROPIC_BASE_URL": server.base_url,
        "ANTHROPIC_API_KEY": server.key,
    }
    environment = {**variables(server, tmp_path), **addresses}
    command: list[str | Path] = ["sh", script]
    if client is None:
        if shutil.which("curl") is None:
            missing("curl")
    else:
        packages = Environment(client)
        packages.ensure()
        environment["PATH"] = f"{packages.python.parent}:{environment['PATH']}"
        if script.suffix != ".sh":
            command = packages.command(script)
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
