"""What goes wrong, in Anthropic's words: the same statuses and messages as everywhere, in another shape."""

import msgspec
from msgspec import Struct

from gateway import sse
from gateway.context import RequestContext
from gateway.errors import ApiError

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""By status. Any other is the request's fault below 500, and ours above."""
NAMES = {"response_format": "output_config.format"}
"""Fields as the engine names them, and as they are called here."""


class ErrorDetail(Struct):
    type: str
    message: str
    """What to change."""


class ErrorBody(Struct, tag="error"):
    error: ErrorDetail
    request_id: str


def speak(context: RequestContext) -> None:
    """From now on, whatever goes wrong with this request is worded as Anthropic does."""
    context.error_body = lambda error: body(error, context.request_id)
    context.error_event = lambda error: sse.event(body(error, context.request_id), "error")
    # Where the SDKs look for the id.
    context.more_headers = [("request-id", context.request_id)]


def body(error: ApiError, request_id: str) -> bytes:
    type = TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    message = error.message
    if error.param in NAMES:
        message = message.replace(error.param, NAMES[error.param])
    return msgspec.json.encode(ErrorBody(ErrorDetail(type, message), request_id))
