"""How a response is worded, whole and streamed; and what becomes of it in the end."""

import time

from msgspec import structs

from gateway.answers import Stamp, encode, explained
from gateway.assembled import Answer
from gateway.errors import ApiError
from gateway.responses.events import Output, ResponseEvent
from gateway.responses.items import Ids
from gateway.responses.request import CreateRequest
from gateway.responses.response import Error, IncompleteDetails, Response, begun, usage_of
from inference.engine.protocol import CallDelta, Delta, Ended, Finished

OUR_NAMES = {
    "messages": "input",
    "prompt": "input",
    "response_format": "text.format",
    "max_tokens": "max_output_tokens",
}
"""What this dialect calls the fields that an engine complains about."""
ENGINES_CODES = {"invalid_prompt", "invalid_format", "context_length_exceeded"}


class ResponseAnswers:
    """`final` is the response when all has been said."""

    def __init__(self, stamp: Stamp, request: CreateRequest, ids: Ids) -> None:
        self.final: Response | None = None
        self._stamp = stamp
        self._response = begun(ids.response, stamp, request)
        self._output = Output(ids, logprobs=request.wants_logprobs, sealed=request.wants_sealed)
        self._end: Ended | None = None
        self._opened = False

    def whole(self, answers: list[Answer], end: Finished) -> bytes:
        [answer] = answers
        calls = [CallDelta(at, call.id, call.name, call.arguments) for at, call in enumerate(answer.calls)]
        self._output.hear(Delta("", answer.text, reasoning=answer.reasoning, calls=calls, logprobs=answer.logprobs))
        if answer.end is not None:
            self.ended(answer.end)
        return encode(self._finished(end))

    def opening(self) -> bytes:
        self._opened = True
        return self._event("response.created", self._response) + self._event("response.in_progress", self._response)

    def piece(self, delta: Delta) -> bytes:
        return self._output.hear(delta)

    def ended(self, end: Ended) -> bytes:
        self._end = end
        return self._output.end(end)

    def closing(self, end: Finished) -> bytes:
        response = self._finished(end)
        return self._event(f"response.{response.status}", response)

    def failed(self, error: ApiError) -> bytes:
        """What a stream that breaks ends with."""
        opening = b"" if self._opened else self.opening()
        # The SDKs' types have no others for what can happen here.
        code = "invalid_prompt" if error.code in ENGINES_CODES else "server_error"
        response = structs.replace(
            self._response,
            status="failed",
            error=Error(code, in_our_words(error).message),
            output=self._output.so_far(),
        )
        return opening + self._event("response.failed", response)

    def _finished(self, end: Finished) -> Response:
        cut = end.reason == "length"
        response = structs.replace(
            self._response,
            status="incomplete" if cut else "completed",
            completed_at=None if cut else int(time.time()),
            incomplete_details=IncompleteDetails("max_output_tokens") if cut else None,
            output=self._output.items,
            usage=usage_of(end.tally),
            diagnostics=self._stamp.diagnose(end),
        )
        self.final = explained(response, self._end)
        return self.final

    def _event(self, type: str, response: Response) -> bytes:
        return self._output.event(ResponseEvent(type=type, response=response))


def in_our_words(error: ApiError) -> ApiError:
    """The same, an engine's complaint about the request with the names that its fields have here."""
    if error.code not in ENGINES_CODES:
        return error
    message = error.message.replace("max_tokens", OUR_NAMES["max_tokens"])
    for theirs, ours in OUR_NAMES.items():
        if message.startswith(f"{theirs}:"):
            message = ours + message.removeprefix(theirs)
    param = None if error.param is None else OUR_NAMES.get(error.param, error.param)
    return ApiError(error.status, message, type=error.type, code=error.code, param=param, headers=error.headers)
