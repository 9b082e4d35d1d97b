"""Events between the processes of one installation: small facts, said once, about what others should read anew.

Two transports: ZeroMQ through the supervisor's `Hub` on one host, Redis pub/sub where ATELIER_REDIS_URL is set.
Delivery is at most once. Whoever caches therefore also needs a lifetime for what it caches, and forgets all of it on
`RESUMED`, which `subscribe` says each time its connection stands (again): events may have passed before.
"""

import logging
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import msgspec
from django.conf import settings
from django.db import transaction

from accounts.events import over_redis, over_zeromq
from accounts.events.over_zeromq import Hub

__all__ = ["RESUMED", "Event", "Hub", "publish", "publish_on_commit", "subscribe"]

logger = logging.getLogger(__name__)

RESUMED = "events.resumed"


class Event(msgspec.Struct, frozen=True):
    topic: str
    payload: dict[str, Any]


def publish(topic: str, /, **payload: Any) -> None:
    """Tell every subscriber of `topic`; from any thread or process, without waiting for anyone.

    Never raises: the change that it speaks of has happened, and a lost event must not undo it. A failure is logged.
    """
    transport = over_redis if settings.REDIS_URL else over_zeromq
    try:
        transport.send(topic, msgspec.json.encode(payload))
    except Exception:
        logger.warning("Event %s could not be published.", topic, exc_info=True)


def publish_on_commit(topic: str, /, **payload: Any) -> None:
    """`publish` when the running transaction commits, or now when there is none; never after a rollback."""
    transaction.on_commit(partial(publish, topic, **payload))


async def subscribe(*topics: str) -> AsyncIterator[Event]:
    """The events of these topics, for ever, and one `RESUMED` after each time that the connection was made.

    Reconnects by itself. A body that can't be read is logged and left out.
    """
    transport = over_redis if settings.REDIS_URL else over_zeromq
    async for message in transport.receive(topics):
        if message is None:
            yield Event(RESUMED, {})
            continue
        topic, body = message
        try:
            event = Event(topic, msgspec.json.decode(body, type=dict[str, Any]))
        except msgspec.DecodeError:
            logger.warning("An event of topic %s could not be read.", topic)
        else:
            yield event
