"""The ASGI entry point: `/v1` and `/health` are the gateway's, everything else is Django's."""

import os
from typing import Any

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "atelier.settings")
django_application = get_asgi_application()

# Needs the apps that get_asgi_application has just set up.
from gateway import runtime  # noqa: E402
from gateway.lifespan import application as lifespan  # noqa: E402
from gateway.routing import application as gateway_application  # noqa: E402
from inference.client import SCOPE_KEY  # noqa: E402


async def http(scope: Any, receive: Any, send: Any) -> None:
    first = scope["path"].lstrip("/").partition("/")[0]
    if first in ("v1", "health"):
        await gateway_application(scope, receive, send)
    else:
        # What pages show of the engines is heard on the connections that the gateway has anyway.
        await django_application({**scope, SCOPE_KEY: runtime.current().engines}, receive, send)


async def websocket(scope: Any, receive: Any, send: Any) -> None:
    """Nothing speaks WebSocket yet: refused, where the router would raise."""
    await receive()
    await send({"type": "websocket.close"})


application = ProtocolTypeRouter({"http": http, "websocket": websocket, "lifespan": lifespan})
