"""How messages travel, and what else the two ends have agreed on."""

import msgspec

from inference.engine.protocol.events import Event
from inference.engine.protocol.requests import ClientMessage

PARENT = "ATELIER_PARENT_PID"
"""The environment variable in which whoever starts an engine leaves its process id: by the time the engine looks, it
may be gone."""
LOAD_FAILED = 3
"""An engine's exit code: the model can't be loaded, and trying again at once won't help."""

encode = msgspec.msgpack.Encoder().encode
decode_client_message = msgspec.msgpack.Decoder(ClientMessage).decode
decode_events = msgspec.msgpack.Decoder(list[Event]).decode


def addresses(endpoint: str) -> tuple[str, str]:
    """The ZeroMQ addresses of an engine's intake and output sockets."""
    return f"{endpoint}.in", f"{endpoint}.out"
