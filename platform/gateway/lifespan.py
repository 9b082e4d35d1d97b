"""The lifespan protocol, for ASGI servers that speak it (Daphne does not): at the end, nothing is left behind."""

import asyncio
from typing import Any

from django.conf import settings

from gateway import runtime


async def application(scope: Any, receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            runtime.current()
            await send({"type": "lifespan.startup.complete"})
        else:
            gateway = runtime.current()
            await gateway.requests.drain(settings.DRAIN_SECONDS, asyncio.Event())
            await gateway.close()
            await send({"type": "lifespan.shutdown.complete"})
            return
