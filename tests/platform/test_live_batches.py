"""Batches through OpenAI's SDK, on a whole Atelier: people come first, and lines are answered once, come what may."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from openai.types import Batch

from tests.support.server import Server

CHAT = "/v1/chat/completions"
LINES, ROWS = 200, 3


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with little room, whose processes are killed and come back."""
    with Server(tmp_path_factory.mktemp("mortal"), "--max-num-seqs", str(ROWS)) as server:
        yield server


@pytest.fixture
def sdk(mortal: Server) -> openai.OpenAI:
    """Patient: it tries again while the gateway is away."""
    return openai.OpenAI(base_url=f"{mortal.base_url}/v1", api_key=mortal.key, max_retries=8)


def line(number: int, *, url: str = CHAT, **fields: Any) -> str:
    asked = f"What is {number % 10} + {number // 10 % 10}?"
    prompt: dict[str, Any] = {
        CHAT: {"messages": [{"role": "user", "content": asked}], "max_tokens": 16},
        "/v1/completions": {"prompt": asked, "max_tokens": 16},
        "/v1/responses": {"input": asked, "max_output_tokens": 16},
    }[url]
    body = {"model": "default", "temperature": 0, **prompt, **fields}
    return json.dumps({"custom_id": f"request-{number}", "method": "POST", "url": url, "body": body})


def create(sdk: openai.OpenAI, *lines: str, url: Any = CHAT) -> Batch:
    file = sdk.files.create(file=("in.jsonl", "\n".join(lines).encode()), purpose="batch")
    return sdk.batches.create(input_file_id=file.id, endpoint=url, completion_window="24h", metadata={"kind": "test"})


def wait_for(sdk: openai.OpenAI, batch: Batch, condition: Callable[[Batch], Any], seconds: float = 90) -> Batch:
    deadline = time.monotonic() + seconds
    while not condition(now := sdk.batches.retrieve(batch.id)):
        assert time.monotonic() < deadline, now
        time.sleep(0.1)
    return now


def answers(sdk: openai.OpenAI, file: str | None) -> list[Any]:
    assert file is not None
    return [json.loads(each) for each in sdk.files.content(file).text.splitlines()]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (CHAT, lambda body: body["choices"][0]["message"]["content"]),
        ("/v1/completions", lambda body: body["choices"][0]["text"]),
        ("/v1/responses", lambda body: body["output"][0]["content"][0]["text"]),
    ],
)
def test_a_batch_through_the_sdk(sdk: openai.OpenAI, url: str, said: Callable[[Any], str]) -> None:
    batch = create(sdk, line(1, url=url), line(2, url=url), line(3, url=url, temperature=9), url=url)
    assert batch.status == "validating" and batch.metadata == {"kind": "test"}
    done = wait_for(sdk, batch, lambda now: now.status == "completed")
    assert done.request_counts and done.request_counts.to_dict() == {"total": 3, "completed": 2, "failed": 1}
    found = answers(sdk, done.output_file_id)
    assert [each["custom_id"] for each in found] == ["request-1", "request-2"]
    assert all(isinstance(said(each["response"]["body"]), str) for each in found)
    used = [each["response"]["body"]["usage"] for each in found]
    assert done.usage and done.usage.total_tokens == sum(usage["total_tokens"] for usage in used)
    [failed] = answers(sdk, done.error_file_id)
    assert failed["response"]["body"]["error"]["param"] == "temperature"
    # The SDK walks the pages by itself.
    assert batch.id in [each.id for each in sdk.batches.list(limit=1)]
    mine = {done.input_file_id, done.output_file_id, done.error_file_id}
    assert mine <= {each.id for each in sdk.files.list(limit=1)}
    for id in mine:
        assert id and sdk.files.retrieve(id).status == "processed"
        assert sdk.files.delete(id).deleted
        with pytest.raises(openai.NotFoundError):
            sdk.files.content(id)


def test_people_are_served_while_a_batch_has_every_row(mortal: Server, sdk: openai.OpenAI) -> None:
    """Its lines give their rows, go on afterwards, and can be cancelled."""
    few = {str(token): 100 for token in range(300, 332)}
    endless = {"logit_bias": few, "temperature": 2, "max_tokens": 8000}
    before = len(mortal.ledger())
    # After each answer one more line may run.
    batch = create(sdk, *map(line, range(3)), *(line(number, **endless) for number in range(3, 9)))

    def has_every_row(now: Batch) -> bool:
        return sum(record["state"] == "running" for record in mortal.ledger()[before:]) > ROWS

    wait_for(sdk, batch, has_every_row)
    said = sdk.chat.completions.create(
        model="default", messages=[{"role": "user", "content": "What is 3 + 4?"}], temperature=0
    )
    assert said.choices[0].message.content == "3 + 4 = 7."
    now = sdk.batches.cancel(batch.id)
    assert now.status == "cancelling" and now.request_counts and now.request_counts.completed == 3
    done = wait_for(sdk, batch, lambda now: now.status == "cancelled", 20)
    assert done.cancelled_at and done.request_counts and done.request_counts.failed == 6
    with pytest.raises(openai.BadRequestError):
        sdk.batches.cancel(batch.id)


def test_200_lines_survive_the_deaths_of_worker_engine_and_gateway(mortal: Server, sdk: openai.OpenAI) -> None:
    before = len(mortal.ledger())
    batch = create(sdk, *map(line, range(LINES)))
    for victim, completed in (("inference.engine", 20), ("worker", 60), ("gateway", 110)):
        now = wait_for(sdk, batch, lambda now, least=completed: now.request_counts.completed >= least)
        assert now.status == "in_progress", "it was over before anything died"
        mortal.child(victim).kill()
    done = wait_for(sdk, batch, lambda now: now.status == "completed")
    assert done.request_counts.to_dict() == {"total": LINES, "completed": LINES, "failed": 0}
    assert done.error_file_id is None
    found = answers(sdk, done.output_file_id)
    assert [each["custom_id"] for each in found] == [f"request-{number}" for number in range(LINES)]
    assert len({each["response"]["body"]["id"] for each in found}) == LINES
    assert {each["response"]["status_code"] for each in found} == {200}

    # The ledger has every run: the one that was answered, and those that something died on.
    settled = mortal.settled(before, LINES, seconds=20)
    records = [record for record in settled if record["request_id"].startswith(batch.id)]
    kept = {each["response"]["body"]["id"].removeprefix("chatcmpl-") for each in found}
    answered = {record["request_id"]: record for record in records}
    assert kept <= answered.keys()
    assert {answered[id]["outcome"] for id in kept} == {"stop"}
    assert done.usage.output_tokens == sum(answered[id]["completion_tokens"] for id in kept)
    assert done.usage.input_tokens == sum(answered[id]["prompt_tokens"] for id in kept)
    assert len(records) <= LINES + 3 * 4, "more than what ran when something died was run again"
