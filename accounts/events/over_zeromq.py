"""Events on one host: publishers push to the hub, the hub publishes to subscribers, all over sockets in SOCKET_DIR."""

import atexit
import logging
import os
import threading
import uuid
from collections.abc import AsyncIterator, Iterable
from functools import lru_cache
from types import TracebackType
from typing import Self

import zmq
import zmq.asyncio
from django.conf import settings

logger = logging.getLogger(__name__)

# How long a process that ends waits for its last event to leave, should there be no hub.
LINGER_MS = 500
# A subscriber that is this many events behind loses some; it has its caches' lifetime to fall back on.
HIGH_WATER_MARK = 10_000
# A subscription of this prefix is a question, "are my subscriptions in place?", that the hub answers. It sorts after
# every topic, and ZeroMQ sends subscriptions in order, so that the answer comes when the others have arrived.
ECHO = b"~"


def inbox_address() -> str:
    return f"ipc://{settings.SOCKET_DIR}/events-in.sock"


def outbox_address() -> str:
    return f"ipc://{settings.SOCKET_DIR}/events-out.sock"


def send(topic: str, body: bytes) -> None:
    """Hand one event to ZeroMQ, which delivers it in the background; without a hub it is dropped after LINGER_MS.

    A socket per event: sockets belong to one thread, and the threads that publish come and go.
    """
    # PUSH waits for its connection, where a PUB that has just connected drops what it is given.
    with _context(os.getpid()).socket(zmq.PUSH) as socket:
        socket.linger = LINGER_MS
        socket.connect(inbox_address())
        socket.send_multipart([topic.encode(), body], zmq.NOBLOCK)


@lru_cache(maxsize=1)
def _context(pid: int) -> zmq.Context[zmq.Socket[bytes]]:
    """This process's own context: a forked child must not touch its parent's."""
    context = zmq.Context()

    def finish() -> None:
        # A command such as `revokekey` ends here: without the wait its event would die with it.
        if os.getpid() == pid:
            context.term()

    atexit.register(finish)
    return context


async def receive(topics: Iterable[str]) -> AsyncIterator[tuple[str, bytes] | None]:
    """(topic, body) of each event; None each time that the hub has our subscriptions, after its restart too."""
    wanted = {topic.encode(): topic for topic in topics}
    echo = ECHO + uuid.uuid4().hex.encode()
    context = zmq.asyncio.Context()
    socket = context.socket(zmq.SUB)
    try:
        socket.rcvhwm = HIGH_WATER_MARK
        for topic in wanted:
            socket.subscribe(topic)
        socket.subscribe(echo)
        socket.connect(outbox_address())
        while True:
            head, body = await socket.recv_multipart()
            if head == echo:
                yield None
            elif head in wanted:  # ZeroMQ subscribes to prefixes
                yield wanted[head], body
    finally:
        socket.close(linger=0)
        context.term()


class Hub:
    """The supervisor's switchboard: a thread between publishers and subscribers. Use it as a context manager.

    Entering binds both sockets and raises zmq.ZMQError when that fails (such as a SOCKET_DIR that can't be written).
    """

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._thread = threading.Thread(target=self._run, name="events-hub", daemon=True)

    def __enter__(self) -> Self:
        self._inbox = self._context.socket(zmq.PULL)
        # XPUB is a PUB that sees subscriptions arrive; VERBOSE shows those of a reconnecting subscriber as well.
        self._outbox = self._context.socket(zmq.XPUB)
        self._outbox.sndhwm = HIGH_WATER_MARK
        self._outbox.xpub_verbose = True
        self._stop, self._stopped = self._context.socket(zmq.PAIR), self._context.socket(zmq.PAIR)
        try:
            self._inbox.bind(inbox_address())
            self._outbox.bind(outbox_address())
            self._stopped.bind("inproc://stop")
            self._stop.connect("inproc://stop")
        except zmq.ZMQError:
            self._context.destroy(linger=0)
            raise
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Idempotent."""
        if not self._context.closed:
            self._stop.send(b"")
            self._thread.join()
            self._context.destroy(linger=LINGER_MS)

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        poller = zmq.Poller()
        for socket in (self._inbox, self._outbox, self._stopped):
            poller.register(socket, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self._stopped in ready:
                return
            if self._outbox in ready:
                subscription = self._outbox.recv()
                if subscription.startswith(b"\x01" + ECHO):
                    self._outbox.send_multipart([subscription[1:], b""])
            if self._inbox in ready:
                frames = self._inbox.recv_multipart()
                if len(frames) == 2:  # the sender may be another version of us
                    self._outbox.send_multipart(frames)
