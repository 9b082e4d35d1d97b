"""What a new user does first: the OpenAI SDK, an issued key, the built-in model."""

import asyncio
from typing import Any

import openai
import pytest

from tests.support.server import Server

QUESTIONS = [
    "What is 3 + 4?",
    "Hello!",
    "Who are you?",
    "How do I get a key?",
    "What is a quota?",
    "Spell the word plum.",
    "Repeat: green river stone",
    "What is 2 + 6?",
    "Good morning",
    "Which port does Atelier use?",
    "What is the ledger?",
    "Count from 1 to 20.",
    "What is 9 + 5?",
    "Can you help me with my taxes?",
    "How do I revoke a key?",
    "Is my prompt stored?",
]


def request(question: str, **fields: Any) -> dict[str, Any]:
    message = {"role": "user", "content": question}
    return {"model": "atelier-tiny", "messages": [message], "max_tokens": 200, **fields}


@pytest.fixture
def sdk(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.base_url}/v1", api_key=server.key)


def test_three_and_four_are_seven(sdk: openai.OpenAI) -> None:
    whole = sdk.chat.completions.create(**request("What is 3 + 4?"))
    assert "7" in whole.choices[0].message.content
    assert whole.choices[0].finish_reason == "stop"
    stream = sdk.chat.completions.create(**request("What is 3 + 4?", stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == whole.choices[0].message.content


def test_sixteen_at_once_give_what_each_gives_alone(server: Server) -> None:
    async def both() -> tuple[list[str], list[str]]:
        async with openai.AsyncOpenAI(base_url=f"{server.base_url}/v1", api_key=server.key) as sdk:

            async def answer(question: str) -> str:
                done = await sdk.chat.completions.create(**request(question, temperature=0))
                return done.choices[0].message.content

            alone = [await answer(question) for question in QUESTIONS]
            return alone, await asyncio.gather(*map(answer, QUESTIONS))

    alone, together = asyncio.run(both())
    assert together == alone
    assert len(set(alone)) > 10, "different questions have different answers"


def test_a_revoked_key_fails_within_a_second(server: Server) -> None:
    key = server.run("createkey", "--user", "admin", "--note", "short life", "--quiet").strip()
    sdk = openai.OpenAI(base_url=f"{server.base_url}/v1", api_key=key, max_retries=0)
    assert sdk.models.list().data
    server.run("revokekey", key)
    with pytest.raises(openai.AuthenticationError):
        for _ in range(10):
            sdk.models.list()
            asyncio.run(asyncio.sleep(0.1))
