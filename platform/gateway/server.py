"""One gateway process under Daphne: how it starts, and how it ends without losing a row."""

import asyncio
import gc
import logging
import signal
from collections.abc import Coroutine
from typing import Any

from daphne.endpoints import build_endpoint_description_strings
from daphne.http_protocol import WebRequest
from daphne.server import Server, reactor, twisted_loop
from django.conf import settings
from django.db import connections

from accounts import ledger
from gateway import runtime
from gateway.guard import FORM_BYTES
from gateway.recovery import settle_former_life

logger = logging.getLogger(__name__)

READ_BYTES = 1 << 20
"""Daphne hands bodies on in pieces of this size; with its own 8 KiB a picture takes half a second."""
BACKLOG = 1024
"""Connections that wait to be taken. Of Twisted's own 50, a burst of clients leaves some that are reset unheard."""
FLUSH_SECONDS = 0.2
"""What Twisted gets to send the last answers: stopping drops what is still in its buffers."""


class LimitedRequest(WebRequest):  # type: ignore[misc]  # Daphne has no types
    """One that keeps no more of a body than is needed to see that it is too large.

    Daphne stores all of it, on disk, before any application hears of the request, a key or not.
    """

    _kept = 0

    def handleContentChunk(self, data: bytes) -> None:
        # The path is not known here yet, but only files come in forms.
        form = any(b"multipart/" in value.lower() for value in self.requestHeaders.getRawHeaders(b"content-type", []))
        largest = max(settings.MAX_FILE_BYTES, settings.MAX_AUDIO_BYTES)
        limit = largest + FORM_BYTES if form else settings.MAX_BODY_BYTES
        kept = data[: max(limit, settings.MAX_BODY_BYTES) + 1 - self._kept]
        self._kept += len(kept)
        super().handleContentChunk(kept)


class GatewayServer(Server):  # type: ignore[misc]  # Daphne has no types
    """Daphne, but asked to stop it drains, where its own signal handling would cut every stream at once."""

    def __init__(self, application: Any, *, host: str, port: int, name: str) -> None:
        super().__init__(
            application,
            endpoints=[
                f"{each}:backlog={BACKLOG}" for each in build_endpoint_description_strings(host=host, port=port)
            ],
            signal_handlers=False,
            request_buffer_size=READ_BYTES,
            ready_callable=self._begin,
            server_name="atelier",
        )
        self.name = name
        self.failure: str | None = None
        """Why it could not listen."""
        self._ending = False
        self._hurry = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self) -> None:
        """Returns when the gateway has ended in order, or could not listen (see `failure`)."""
        # Read before it listens: no request of this life may be among them.
        self._left = ledger.running_of(self.name)
        connections.close_all()
        # What has been loaded stays; a collector that looks at it again keeps everybody waiting.
        gc.collect()
        gc.freeze()
        super().run()

    def listen_error(self, failure: Any) -> None:
        self.failure = failure.getErrorMessage()
        self.stop()

    def application_checker(self) -> None:
        """Daphne's housekeeping, which would stop for good where an application raised after its response began."""
        try:
            super().application_checker()
        except Exception:
            logger.exception("Daphne's housekeeping failed")
            reactor.callLater(1, self.application_checker)

    def _begin(self) -> None:
        build_protocol = self.http_factory.buildProtocol

        def build_limited(address: Any) -> Any:
            protocol = build_protocol(address)
            protocol.requestFactory = LimitedRequest
            return protocol

        self.http_factory.buildProtocol = build_limited
        for number in (signal.SIGTERM, signal.SIGINT):
            twisted_loop.add_signal_handler(number, self._asked_to_stop)
        # The loop has not run yet: this comes before the first request.
        self._spawn(self._start())

    async def _start(self) -> None:
        gateway = runtime.start(self.name)
        host, port = self.listening_addresses[0]
        logger.info("gateway %s listens on %s port %d", self.name, host, port)
        if self._left:
            gateway.recovered.clear()
            try:
                await settle_former_life(gateway, self._left)
            finally:
                gateway.recovered.set()

    def _asked_to_stop(self) -> None:
        if self._ending:
            self._hurry.set()
        else:
            self._ending = True
            self._spawn(self._end())

    async def _end(self) -> None:
        gateway = runtime.current()
        try:
            await gateway.requests.drain(settings.DRAIN_SECONDS, self._hurry)
            await asyncio.sleep(FLUSH_SECONDS)
            await gateway.close()
        finally:
            reactor.stop()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = twisted_loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
