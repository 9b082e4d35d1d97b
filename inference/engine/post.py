"""How what an engine says reaches its clients."""

from typing import Protocol

import zmq

from inference.engine import protocol


class Unreachable(Exception):
    """This client can't be reached any more."""


class Post(Protocol):
    """Used by the output thread alone."""

    def send(self, client: bytes, events: list[protocol.Event]) -> None:
        """In their order. Does not block. Raises Unreachable."""

    def close(self) -> None:
        """Nothing more will be sent."""


class SocketPost:
    """To other processes."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str) -> None:
        self._socket = context.socket(zmq.ROUTER)
        # A client that went away shows as an error instead of silence; one that came back takes over its name.
        self._socket.router_mandatory = True
        self._socket.router_handover = True
        self._socket.sndhwm = 0
        self._socket.linger = 500
        self._socket.bind(address)

    def send(self, client: bytes, events: list[protocol.Event]) -> None:
        try:
            self._socket.send_multipart([client, protocol.encode(events)], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            raise Unreachable(str(error)) from error

    def close(self) -> None:
        self._socket.close()
