"""What can be answered instead of a result: each status, in words, and the headers that belong to it."""

from dataclasses import dataclass
from http import HTTPStatus

from gateway.endpoint import Endpoint, GenerationEndpoint, KeyedEndpoint


@dataclass(frozen=True, slots=True)
class Refusal:
    name: str
    """Of its component."""
    description: str
    headers: tuple[str, ...] = ()


def _refusal(status: HTTPStatus, description: str, *headers: str) -> Refusal:
    return Refusal(status.phrase.title().replace(" ", ""), description, headers)


REFUSALS = {
    400: _refusal(
        HTTPStatus.BAD_REQUEST,
        "The body is not JSON, or a field is missing, of the wrong type, out of range or not supported: `param` names "
        "it. `code` is `context_length_exceeded` where prompt and answer don't fit the context, `invalid_prompt` where "
        "the model can't take the prompt, `previous_response_not_found`, and `host_not_allowed` where this server does "
        "not go by that name.",
    ),
    401: _refusal(
        HTTPStatus.UNAUTHORIZED,
        "No API key, or one that is mistyped, unknown, revoked, expired or of an inactive user.",
        "www-authenticate",
    ),
    403: _refusal(
        HTTPStatus.FORBIDDEN, "`insufficient_permissions`: the key lacks a scope, or may not be used from this network."
    ),
    404: _refusal(
        HTTPStatus.NOT_FOUND,
        "There is no such model, response, request, file or batch, or it is not yours to see. `code` says which: "
        "`model_not_found`, `response_not_found`, `request_not_found`, `file_not_found`, `batch_not_found`, "
        "`unknown_url`.",
    ),
    405: _refusal(HTTPStatus.METHOD_NOT_ALLOWED, "Another method is meant: `allow` names it.", "allow"),
    413: Refusal(
        "RequestTooLarge",
        "The body is over the limit of this server (ATELIER_MAX_BODY_MB, for files ATELIER_MAX_FILE_MB), or its owner "
        "has too much stored (ATELIER_FILES_PER_USER_MB).",
    ),
    429: _refusal(
        HTTPStatus.TOO_MANY_REQUESTS,
        "A limit is reached. `code` is `rate_limit_exceeded` for limits of a minute and of requests at once (`type` "
        "says whether of `requests` or `tokens`): come back after `retry-after`. It is `insufficient_quota` for those "
        "of longer windows; then trying again is in vain, and `x-should-retry` says so.",
        "retry-after",
        "retry-after-ms",
        "x-should-retry",
    ),
    499: Refusal(
        "RequestCancelled",
        "The request was cancelled by its owner (`DELETE /v1/requests/{id}`) or an administrator.",
        ("x-should-retry",),
    ),
    500: _refusal(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "`engine_error`: the model's engine died, or failed on this request. `internal_error`: a fault of ours; the "
        "message holds the request id to report.",
    ),
    503: _refusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "`model_loading`, `server_is_overloaded` (too many requests wait, or memory is too full), `draining` (the "
        "server is stopping) or `maintenance` (somebody works on it; the message says until when, if that is known): "
        "come back after `retry-after`, unless `x-should-retry` says that it is not worth trying.",
        "retry-after",
        "retry-after-ms",
        "x-should-retry",
    ),
    504: _refusal(
        HTTPStatus.GATEWAY_TIMEOUT, "Not finished within the time limit, which the message names.", "x-should-retry"
    ),
}

EVERYWHERE = (400, 413, 500)
"""What the guard answers on any path."""


def expected(consumer: type[Endpoint]) -> tuple[int, ...]:
    """The statuses that a consumer may refuse with, because of what it is."""
    keyed = (401, 403, 503) if issubclass(consumer, KeyedEndpoint) else ()
    generating = (404, 429, 499, 504) if issubclass(consumer, GenerationEndpoint) else ()
    return (*EVERYWHERE, *keyed, *generating)


HEADERS = {
    "x-request-id": "The request's id. A client may choose it: up to 48 letters, digits, `.`, `_` and `-`.",
    "openai-processing-ms": "From the request's arrival to the first byte of the response, in milliseconds.",
    "x-queue-ms": "Of that, waiting in the engine's queue.",
    "x-overhead-ms": "Of that, everything but the engine.",
    "x-ignored-parameters": "Fields of the request without effect here, if any.",
    "request-id": "The same as `x-request-id`, where Anthropic's SDKs look for it.",
    "x-quota-warning": "Limits that are nearly used up, if any, as `tokens/day 85%`.",
    "www-authenticate": "`Bearer`.",
    "allow": "The methods of this path.",
    "retry-after": "Seconds after which to try again.",
    "retry-after-ms": "The same in milliseconds.",
    "x-should-retry": "`false`: the same again would end the same way.",
}
RATE = {"limit": "All", "remaining": "What is left of the", "reset": "Until all are back, as `1.2s`:"}
HEADERS |= {
    f"x-ratelimit-{what}-{of}": f"{words} {of}, of the tightest limit of a minute that holds for the key."
    for what, words in RATE.items()
    for of in ("requests", "tokens")
}
ALWAYS = ("x-request-id", "openai-processing-ms", "x-queue-ms", "x-overhead-ms")
"""The headers of every response, errors included."""
NUMBERS = {"openai-processing-ms", "x-queue-ms", "x-overhead-ms", "retry-after", "retry-after-ms"}
RATES = tuple(name for name in HEADERS if name.startswith("x-ratelimit-"))
"""The headers of every response to a key."""
NUMBERS |= {name for name in RATES if "reset" not in name}
