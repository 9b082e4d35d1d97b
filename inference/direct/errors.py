"""What a call may raise."""

from inference.engine.model import ModelError
from inference.engine.prepare import Refusal
from inference.engine.protocol import Failed

__all__ = ["EngineError", "ModelError", "RequestError", "RequestTimeout"]


class RequestError(ValueError):
    """Something about an argument makes the call impossible. argument: which one, such as `images[0]`; None where it is
    none alone. code: as in the HTTP API's errors."""

    def __init__(self, message: str, argument: str | None = None, code: str = "invalid_value"):
        super().__init__(message)
        self.argument = argument
        self.code = code


class EngineError(RuntimeError):
    """The engine could not answer, through no fault of the call's."""


class RequestTimeout(EngineError, TimeoutError):
    """The call took longer than the model's `timeout`."""


def invalid(argument: str, why: str) -> RequestError:
    return RequestError(f"{argument}: {why}", argument)


def refused(refusal: Refusal) -> RequestError:
    """An engine's refusal, in the words of a call."""
    return RequestError(refusal.message, refusal.param, refusal.code)


def failed(event: Failed) -> Exception:
    if event.code == "timeout":
        return RequestTimeout(event.message)
    if event.code in ("engine_error", "server_is_overloaded"):
        return EngineError(event.message)
    return RequestError(event.message, event.param, event.code)
