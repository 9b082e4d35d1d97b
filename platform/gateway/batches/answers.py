"""What becomes of a line: one line of an output file."""

import uuid

import msgspec
from msgspec import Struct

from accounts.batches.progress import Tokens
from gateway.answers import encode


class LineResponse(Struct):
    status_code: int
    request_id: str
    """As in the `x-request-id` that the request was sent with: the ledger's rows of it begin so."""
    body: msgspec.Raw


class LineError(Struct):
    code: str
    message: str


class OutputLine(Struct, kw_only=True):
    id: str
    custom_id: str
    response: LineResponse | None
    """Null where there never was one."""
    error: LineError | None


EXPIRED = LineError("batch_expired", "This request could not be executed before the completion window expired.")
CANCELLED = LineError("batch_cancelled", "This request was not executed, for the batch was cancelled.")
KEY_GONE = LineError(
    "invalid_api_key",
    "The API key that the batch was made with has been revoked, has expired, or its user is inactive.",
)
DIED = LineError("engine_error", "The server died each time that it worked on this request.")


def answered(custom_id: str, response: LineResponse) -> str:
    return _line(custom_id, response, None)


def unanswered(custom_id: str, error: LineError) -> str:
    return _line(custom_id, None, error)


def _line(custom_id: str, response: LineResponse | None, error: LineError | None) -> str:
    id = f"batch_req_{uuid.uuid4().hex}"
    return encode(OutputLine(id=id, custom_id=custom_id, response=response, error=error)).decode()


class _Details(Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(Struct):
    """Chat's and completions' names, and those of responses."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


class _Used(Struct):
    usage: _Usage | None = None


read_usage = msgspec.json.Decoder(_Used).decode


def tokens_of(body: bytes) -> Tokens:
    """Raises msgspec.DecodeError for what is no JSON object."""
    usage = read_usage(body).usage or _Usage()
    read = usage.prompt_tokens_details or usage.input_tokens_details or _Details()
    written = usage.completion_tokens_details or usage.output_tokens_details or _Details()
    return Tokens(
        input=usage.prompt_tokens or usage.input_tokens or 0,
        cached=read.cached_tokens or 0,
        output=usage.completion_tokens or usage.output_tokens or 0,
        reasoning=written.reasoning_tokens or 0,
    )
