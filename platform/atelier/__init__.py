"""The Django project: settings, URLs, ASGI entry point, Celery app and the `atelier` command.

For programs it is the Python API, too: `from atelier import LanguageModel`. That is loaded when it is asked for, and
without Django.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inference.direct import (
        Answer,
        Chunk,
        EngineError,
        LanguageModel,
        ModelError,
        RequestError,
        RequestTimeout,
        Stream,
        ToolCall,
        VisionModel,
    )

__all__ = [
    "Answer", "Chunk", "EngineError", "LanguageModel", "ModelError", "RequestError", "RequestTimeout", "Stream",
    "ToolCall", "VisionModel",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in __all__:
        from inference import direct

        return getattr(direct, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
