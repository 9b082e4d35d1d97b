"""Events across hosts: Redis pub/sub, one channel `atelier:<topic>` per topic."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from functools import lru_cache

import redis
import redis.asyncio
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger(__name__)

CHANNEL = "atelier:"
# A publisher is often a request: it must not wait long for a Redis that is away.
SEND_TIMEOUT_SECONDS = 1.0
RECONNECT_SECONDS = 1.0
# A silent connection is pinged this often, so that a dead one is noticed.
PING_SECONDS = 10


def send(topic: str, body: bytes) -> None:
    """Raises redis.RedisError when Redis does not answer within SEND_TIMEOUT_SECONDS."""
    _client(settings.REDIS_URL).publish(CHANNEL + topic, body)


@lru_cache(maxsize=1)
def _client(url: str) -> "redis.Redis":
    """Safe to share: its pool is locked between threads and starts anew in a forked child."""
    return redis.Redis.from_url(
        url,
        socket_timeout=SEND_TIMEOUT_SECONDS,
        socket_connect_timeout=SEND_TIMEOUT_SECONDS,
        # Once more, at once: a pooled connection may have died since it was last used.
        retry=Retry(NoBackoff(), 1),
    )


async def receive(topics: Iterable[str]) -> AsyncIterator[tuple[str, bytes] | None]:
    """(topic, body) of each event; None each time that Redis has confirmed all our subscriptions."""
    channels = {(CHANNEL + topic).encode() for topic in topics}
    while True:
        try:
            async for message in _receive_until_broken(channels):
                yield message
        except (redis.RedisError, OSError) as error:
            logger.warning("Events: Redis is away (%s); trying again. Check ATELIER_REDIS_URL.", type(error).__name__)
            await asyncio.sleep(RECONNECT_SECONDS)


async def _receive_until_broken(channels: set[bytes]) -> AsyncIterator[tuple[str, bytes] | None]:
    client = redis.asyncio.Redis.from_url(
        settings.REDIS_URL,
        socket_connect_timeout=PING_SECONDS,
        socket_keepalive=True,
        health_check_interval=PING_SECONDS,
    )
    async with client, client.pubsub() as pubsub:
        await pubsub.subscribe(*channels)
        unconfirmed = set(channels)
        while True:
            message = await pubsub.get_message(timeout=PING_SECONDS)
            if message is None:
                continue
            channel: bytes = message["channel"]
            if message["type"] == "message":
                yield channel.decode().removeprefix(CHANNEL), message["data"]
            elif message["type"] == "subscribe":
                # The client reconnects by itself as well and then subscribes again: one more round of these.
                unconfirmed.discard(channel)
                if not unconfirmed:
                    unconfirmed = set(channels)
                    yield None
