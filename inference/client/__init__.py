"""The gateway's end of the engine protocol: one client per process and event loop, for all engines.

`engines` has a `link` to each engine, and every link its running `generation`s. Others import from here.
"""

from inference.client.engines import SCOPE_KEY, EngineClient
from inference.client.errors import EngineDied, EngineError, EngineUnavailable
from inference.client.generation import Generation
from inference.client.link import Heartbeat

__all__ = [
    "SCOPE_KEY", "EngineClient", "EngineDied", "EngineError", "EngineUnavailable", "Generation", "Heartbeat",
]  # fmt: skip
