"""Every error a client can get: its status, the four JSON keys and the headers that belong to it.

Messages say what to change. They may quote names of models, fields and hosts, never prompts or keys.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from accounts.quotas.limiter import LimitReached
from inference.engine import protocol

LONGEST_QUOTE = 120
LONGEST_HEEDED = 60.0
"""Seconds of a `retry-after` that openai-python 1.x still waits for; after a longer one it tries again at once."""
MOST_NAMED = 32
"""Names of fields in one message or header."""


class ErrorDetail(Struct):
    message: str
    """What to change."""
    type: str
    """"invalid_request_error" where it is the request's fault, "server_error" where it is ours."""
    param: str | None
    """The field at fault, such as `messages[0].content`."""
    code: str | None


class ErrorBody(Struct):
    """What every error says: all four keys, always."""

    error: ErrorDetail


class ApiError(Exception):
    """What `/v1` answers instead of a result: OpenAI's four keys, and headers such as `retry-after`."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.code = code
        self.param = param
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        return msgspec.json.encode(ErrorBody(ErrorDetail(self.message, self.type, self.param, self.code)))


def quote(value: str) -> str:
    """A name from the request, short enough and safe to stand in a message."""
    shown = value if len(value) <= LONGEST_QUOTE else value[:LONGEST_QUOTE] + "…"
    return repr(shown.encode("utf-8", "replace").decode())


# --- 4xx: the request ----------------------------------------------------------------------------------------------


def invalid(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    return ApiError(400, message, param=param, code=code)


def invalid_json(reason: str) -> ApiError:
    return ApiError(400, f"The request body can't be read as JSON: {reason}.")


def not_supported(param: str, advice: str) -> ApiError:
    """A known field that can't be honoured here: said, never ignored."""
    return ApiError(400, f"`{param}` is not supported by this server yet: {advice}.", param=param)


def without_effect(names: Sequence[str]) -> ApiError:
    """Under --strict-parameters, for fields that would only be named in x-ignored-parameters."""
    shown = ", ".join(quote(name) for name in names[:MOST_NAMED])
    return ApiError(
        400,
        f"These parameters have no effect here, and this server refuses such (--strict-parameters): {shown}. "
        "Leave them out.",
        param=names[0][:LONGEST_QUOTE],
    )


def host_not_allowed(host: str) -> ApiError:
    return ApiError(
        400,
        f"This server does not answer to the host name {quote(host)}. "
        "Its operator can add the name to ATELIER_ALLOWED_HOSTS.",
        code="host_not_allowed",
    )


def invalid_api_key() -> ApiError:
    # LiteLLM knows an authentication error by OpenAI's first four words.
    return ApiError(
        401,
        "Incorrect API key provided: send `Authorization: Bearer <key>` or `x-api-key: <key>` with a key that is "
        "neither mistyped nor revoked nor expired.",
        code="invalid_api_key",
        headers={"www-authenticate": "Bearer"},
    )


def missing_scope(scope: str) -> ApiError:
    return ApiError(
        403,
        f"This API key lacks the scope `{scope}`. Use another key, or have one issued with it.",
        code="insufficient_permissions",
    )


def wrong_network() -> ApiError:
    return ApiError(403, "This API key may not be used from your network.", code="insufficient_permissions")


def model_not_found(model: str) -> ApiError:
    return ApiError(
        404,
        f"The model {quote(model)} does not exist or you do not have access to it. `GET /v1/models` lists yours.",
        param="model",
        code="model_not_found",
    )


def request_not_found(id: str) -> ApiError:
    return ApiError(404, f"You have no running request {quote(id)}; it may have ended.", code="request_not_found")


def cancelled(*, by: str) -> ApiError:
    """For the client whose generation its "owner" or an "administrator" has cancelled. 499 is what proxies call a
    request that was given up."""
    return ApiError(
        499,
        "The request was cancelled (DELETE /v1/requests)."
        if by == "owner"
        else "An administrator of this server has cancelled the request.",
        code="request_cancelled",
        headers={"x-should-retry": "false"},
    )


def response_not_found(id: str) -> ApiError:
    """None that is stored; or not for this owner, or no longer: no oracle."""
    return ApiError(404, f"Response with id {quote(id)} not found.", code="response_not_found")


def previous_response_not_found(id: str) -> ApiError:
    """400, as OpenAI has it: nothing is wrong with the URL."""
    return ApiError(
        400,
        f"Previous response with id {quote(id)} not found. It was not stored, has expired or is not yours; send the "
        "conversation in `input`.",
        param="previous_response_id",
        code="previous_response_not_found",
    )


def limit_reached(reached: LimitReached) -> ApiError:
    """429. Of a minute, or of what runs at once, it is a rate, and clients come back by themselves; of longer windows a
    quota, and trying again would be in vain."""
    rule, left = reached.rule, max(0.0, reached.limit - reached.used)
    state = f"{number(left)} of {number(reached.limit)} {rule.unit} for {rule.subject} are left"
    more = "" if reached.period.end is None else f" There are more from {reached.period.end:%Y-%m-%d %H:%M:%S} UTC on."
    kind = "tokens" if rule.metric == "tokens" else "requests"
    if rule.metric == "concurrency":
        message = (
            f"Rate limit reached: {number(reached.used)} requests of {rule.subject} run already, and {rule.limit} may."
        )
        return ApiError(429, message, type=kind, code="rate_limit_exceeded", headers=_come_back(1.0))
    if rule.window == "minute":
        headers = _come_back(reached.seconds or 0.0)
        message = f"Rate limit reached: {state}, too few for this request.{more}"
        return ApiError(429, message, type=kind, code="rate_limit_exceeded", headers=headers)
    return ApiError(
        429,
        f"Your quota is used up: {state}, too few for this request.{more} Whoever runs this server can raise it.",
        type="insufficient_quota",
        code="insufficient_quota",
        headers={"x-should-retry": "false"},
    )


def number(value: float) -> str:
    return f"{value:,.3f}".rstrip("0").rstrip(".")


def unknown_path(path: str) -> ApiError:
    return ApiError(404, f"There is nothing at {quote(path)}.", code="unknown_url")


def method_not_allowed(method: str, allowed: str) -> ApiError:
    return ApiError(
        405,
        f"{quote(method)} is not allowed here; use {allowed}.",
        code="method_not_allowed",
        headers={"allow": allowed},
    )


def request_too_large(limit: int, setting: str = "ATELIER_MAX_BODY_MB") -> ApiError:
    return ApiError(
        413,
        f"The request body is larger than {limit // (1024 * 1024)} MB, the limit of this server ({setting}).",
        code="request_too_large",
    )


def file_not_found(id: str) -> ApiError:
    """None that is stored; or not for this owner, or no longer: no oracle."""
    return ApiError(404, f"No such file: {quote(id)}.", code="file_not_found")


def file_in_use() -> ApiError:
    return invalid("A batch that has not ended reads this file; cancel the batch first.", code="file_in_use")


def too_much_stored(limit: int) -> ApiError:
    return ApiError(
        413,
        f"You may have {limit // (1024 * 1024)} MB stored on this server (ATELIER_FILES_PER_USER_MB), and this would "
        "be more; delete files that you don't need any more.",
        code="storage_limit_exceeded",
    )


def batch_not_found(id: str) -> ApiError:
    return ApiError(404, f"No such batch: {quote(id)}.", code="batch_not_found")


def batch_ended(status: str) -> ApiError:
    return invalid(f"The batch has ended already ({status}); there is nothing left to cancel.", code="batch_ended")


# --- 5xx: the server -----------------------------------------------------------------------------------------------


def _server_error(status: int, message: str, code: str, headers: Mapping[str, str] | None = None) -> ApiError:
    return ApiError(status, message, type="server_error", code=code, headers=headers)


def _come_back(seconds: float) -> dict[str, str]:
    hint = {"retry-after": str(math.ceil(seconds)), "retry-after-ms": str(math.ceil(seconds * 1000))}
    # Some SDKs take a long wait for none at all.
    return hint if seconds <= LONGEST_HEEDED else {**hint, "x-should-retry": "false"}


def overloaded(message: str, seconds: float | None = None) -> ApiError:
    """seconds: after which there is likely room; None where nobody knows."""
    return _server_error(503, message, "server_is_overloaded", _come_back(1.0 if seconds is None else seconds))


def model_loading(model: str, seconds: float, *, failed: bool = False) -> ApiError:
    """seconds: after which it is likely there. failed: it could not be loaded the last time."""
    message = (
        f"The model {quote(model)} could not be loaded; it is tried again from time to time. Whoever runs this server "
        "finds the reason in its log and in the admin."
        if failed
        else f"The model {quote(model)} is still loading; try again shortly."
    )
    return _server_error(503, message, "model_loading", _come_back(seconds))


def limits_unknown() -> ApiError:
    return _server_error(
        503, "This server can't look up your limits at the moment; try again shortly.", "server_is_overloaded",
        _come_back(1.0),
    )  # fmt: skip


def draining() -> ApiError:
    return _server_error(
        503, "This server is shutting down or restarting; try again shortly.", "draining", _come_back(5)
    )


def maintenance(sentence: str, until: datetime | None) -> ApiError:
    """until: when it will likely be over. Where that is not soon, or nobody knows, the SDKs must not try again and
    again: whoever reads the message can."""
    left = 0.0 if until is None else (until - datetime.now(UTC)).total_seconds()
    hint = _come_back(left) if left > 0 else {**_come_back(LONGEST_HEEDED), "x-should-retry": "false"}
    return _server_error(503, f"Down for maintenance: {sentence}", "maintenance", hint)


def engine_error(message: str = "The model's engine stopped while it worked on this request; try again.") -> ApiError:
    return _server_error(500, message, "engine_error")


def gateway_silent() -> ApiError:
    return _server_error(
        503, "The gateway that works on this request does not answer; try again shortly.", "gateway_silent",
        _come_back(1),
    )  # fmt: skip


def timeout(message: str) -> ApiError:
    # Doing it all again would run into the same limit: the SDKs must not retry.
    return _server_error(504, message, "timeout", {"x-should-retry": "false"})


def internal(request_id: str) -> ApiError:
    return _server_error(
        500, f"Something went wrong here. Tell the operator this request id: {request_id}.", "internal_error"
    )


def from_engine(failed: protocol.Failed, *, prompt_param: str) -> ApiError:
    """The HTTP error for an engine's refusal; `prompt_param` is the field that the prompt came in."""
    match failed.code:
        case "server_is_overloaded":
            return overloaded(failed.message, failed.retry_after)
        case "engine_error":
            return engine_error(failed.message)
        case "timeout":
            return timeout(failed.message)
        case code:
            return invalid(failed.message, param=failed.param or prompt_param, code=code)
