"""The application in the tests' own process, with a real database and a scripted engine."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from channels.db import database_sync_to_async

from accounts.models import UsageRecord
from atelier.asgi import application
from tests.gateway.asgi_driver import Exchange, ask
from tests.gateway.scripted_engine import Script, ScriptedEngine


async def until(condition: Callable[[], Any], seconds: float = 20) -> None:
    """Waits for `condition`, a function or a coroutine function, to say something true."""
    async with asyncio.timeout(seconds):
        while True:
            said = condition()
            if await said if asyncio.iscoroutine(said) else said:
                return
            await asyncio.sleep(0.01)


class LocalGateway:
    """What the tests see of the application: a key, a model, requests and the ledger."""

    def __init__(self, key: str, endpoint: str) -> None:
        self.key = key
        self.endpoint = endpoint

    def exchange(self, path: str, **options: Any) -> Exchange:
        headers = {"authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        return Exchange(application, options.pop("method", "POST"), path, headers=headers, **options)

    async def ask(self, path: str, **options: Any) -> Exchange:
        headers = {"authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        return await ask(application, options.pop("method", "POST"), path, headers=headers, **options)

    @asynccontextmanager
    async def engine(self, script: Script, **options: Any) -> AsyncIterator[ScriptedEngine]:
        async with ScriptedEngine(self.endpoint, script, **options) as engine:
            yield engine

    async def is_ready(self) -> bool:
        return (await self.ask("/health/ready", method="GET")).status == 200

    @staticmethod
    async def ledger() -> list[dict[str, Any]]:
        return await database_sync_to_async(lambda: list(UsageRecord.objects.order_by("pk").values()))()
