"""The Python API: an engine in the caller's own process, without server, database or accounts.

`models` has what is called; `requests`, `conversation` and `pictures` make of its arguments what an engine is sent;
`host` runs the engine; `answers` is what comes back, `errors` what goes wrong. Imports no Django. Users import from
`atelier`.
"""

from inference.direct.answers import Answer, Chunk, Stream, ToolCall
from inference.direct.errors import EngineError, ModelError, RequestError, RequestTimeout
from inference.direct.models import LanguageModel, VisionModel

__all__ = [
    "Answer", "Chunk", "EngineError", "LanguageModel", "ModelError", "RequestError", "RequestTimeout", "Stream",
    "ToolCall", "VisionModel",
]  # fmt: skip
