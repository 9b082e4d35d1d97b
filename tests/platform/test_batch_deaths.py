"""A batch and the deaths of all that it needs: each line is answered once, and nothing of it is lost."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.support.server import Server

LINES = 200


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose processes are killed and come back."""
    with Server(tmp_path_factory.mktemp("mortal")) as server:
        yield server


@pytest.fixture
def sdk(mortal: Server) -> openai.OpenAI:
    """Patient: it tries again while the gateway is away."""
    return openai.OpenAI(base_url=f"{mortal.base_url}/v1", api_key=mortal.key, max_retries=8)


def line(number: int) -> str:
    messages = [{"role": "user", "content": f"What is {number % 10} + {number // 10 % 10}?"}]
    body = {"model": "default", "messages": messages, "max_tokens": 16, "temperature": 0}
    return json.dumps({"custom_id": f"request-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body})


def answers(sdk: openai.OpenAI, file: str) -> list[Any]:
    return [json.loads(each) for each in sdk.files.content(file).text.splitlines()]


def test_200_lines_survive_the_deaths_of_worker_engine_and_gateway(mortal: Server, sdk: openai.OpenAI) -> None:
    file = sdk.files.create(file=("in.jsonl", "\n".join(map(line, range(LINES))).encode()), purpose="batch")
    batch = sdk.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")

    def wait_for(completed: int) -> None:
        deadline = time.monotonic() + 90
        while True:
            now = sdk.batches.retrieve(batch.id)
            if now.request_counts.completed >= completed or now.status == "completed":
                return
            assert time.monotonic() < deadline, now
            time.sleep(0.1)

    for victim, completed in (("inference.engine", 20), ("worker", 60), ("gateway", 110)):
        wait_for(completed)
        assert sdk.batches.retrieve(batch.id).status == "in_progress", "it was over before anything died"
        mortal.child(victim).kill()
    wait_for(LINES)
    done = sdk.batches.retrieve(batch.id)
    while done.status != "completed":
        time.sleep(0.1)
        done = sdk.batches.retrieve(batch.id)
    assert done.request_counts.to_dict() == {"total": LINES, "completed": LINES, "failed": 0}
    assert done.error_file_id is None
    found = answers(sdk, done.output_file_id)
    assert [each["custom_id"] for each in found] == [f"request-{number}" for number in range(LINES)]
    assert len({each["response"]["body"]["id"] for each in found}) == LINES
    assert {each["response"]["status_code"] for each in found} == {200}

    # The ledger has every run: the one that was answered, and those that something died on.
    records = [record for record in mortal.settled(0, LINES, seconds=20) if record["request_id"].startswith(batch.id)]
    kept = {each["response"]["body"]["id"].removeprefix("chatcmpl-") for each in found}
    answered = {record["request_id"]: record for record in records}
    assert kept <= answered.keys()
    assert {answered[id]["outcome"] for id in kept} == {"stop"}
    assert done.usage.output_tokens == sum(answered[id]["completion_tokens"] for id in kept)
    assert done.usage.input_tokens == sum(answered[id]["prompt_tokens"] for id in kept)
    assert len(records) <= LINES + 3 * 4, "more than what ran when something died was run again"
    assert httpx.get(f"{mortal.base_url}/health").status_code == 200
