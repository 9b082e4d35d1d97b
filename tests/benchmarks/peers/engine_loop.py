"""How fast our engine decodes, asked in its own protocol: no gateway, no key, no ledger."""

import asyncio
import os
import uuid
from time import perf_counter

from inference.client import EngineClient, EngineError
from inference.engine.protocol import Delta, Failed, Finished, Generate
from tests.benchmarks.gateway import PRINT_ENDPOINT
from tests.support.server import Server

Pieces = list[tuple[float, int]]
"""When tokens came, and how many."""
SECONDS = 120


class LoopFailed(Exception):
    pass


def decode_rate(server: Server, prompts: list[list[int]], tokens: int) -> float:
    """Tokens per second of all rows, from when each has its first token. Raises LoopFailed."""
    endpoint = server.run("shell", "--no-imports", "-c", PRINT_ENDPOINT).strip().splitlines()[-1]
    try:
        return asyncio.run(measure(endpoint, prompts, tokens))
    except (EngineError, TimeoutError) as error:
        raise LoopFailed(repr(error)) from error


async def measure(endpoint: str, prompts: list[list[int]], tokens: int) -> float:
    client = EngineClient(f"peers-{os.getpid()}")
    try:
        await client.wait_ready(endpoint, SECONDS)
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*(ask(client, endpoint, prompt, 8) for prompt in prompts))
            rows = await asyncio.gather(*(ask(client, endpoint, prompt, tokens) for prompt in prompts))
    finally:
        await client.close()
    began = max(row[0][0] for row in rows)
    made = sum(count for row in rows for when, count in row if when > began)
    return made / (max(row[-1][0] for row in rows) - began)


async def ask(client: EngineClient, endpoint: str, prompt: list[int], tokens: int) -> Pieces:
    pieces: Pieces = []
    request = Generate(id=uuid.uuid4().hex, prompts=[prompt], max_tokens=tokens)
    async for events in client.generate(endpoint, request):
        now = perf_counter()
        for event in events:
            if isinstance(event, Delta) and event.tokens:
                pieces.append((now, event.tokens))
            if isinstance(event, Failed):
                raise LoopFailed(event.message)
            if isinstance(event, Finished) and event.tally.completion_tokens != tokens:
                raise LoopFailed(f"{event.tally.completion_tokens} tokens instead of {tokens}")
    return pieces
